"""What a resource states about an engine, held against its ONNX before a GPU is asked for.

The build Job checks all of it against TensorRT's own network. What is certain from the ONNX alone need not
wait for a GPU, nor for the exports and pipelines that are built before the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ensemble_builder.compilers.tensorrt.graph import demand_known
from ensemble_builder.compilers.tensorrt.profiles import NetworkTensor, Wanted, plan
from ensemble_builder.compilers.tensorrt.report import fault
from ensembles_api.contract import ModelIO
from ensembles_api.reasons import Reason
from ensembles_api.spec import EngineVerification, NamedSource, TensorRT


def check_stated(
    stated: TensorRT,
    io: ModelIO,
    *,
    max_batch_size: int | None,
    field: str,
    model_field: str,
    source_field: str,
) -> None:
    """Refuse names that the ONNX has not, profiles that cannot fit it, and what no engine can be.

    Args:
        stated: the model version's tensorrt.
        io: of its ONNX.
        max_batch_size: of the model, as stated.
        field: path of `stated` in the resource.
        model_field: of the model.
        source_field: of its ONNX.

    Raises:
        FaultError: InvalidSpec, or InvalidModel where it cannot batch, as the build Job would; InvalidModel
            where inputs and outputs have a name in common.
    """
    inputs, outputs = ([tensor.name for tensor in side] for side in (io.inputs, io.outputs))
    for name in inputs:
        if name in outputs:
            message = (
                f"input {name!r} is an output as well, and TensorRT would rename one of them: put an "
                "Identity between them, with a name of its own, or leave the output out"
            )
            raise fault(Reason.INVALID_MODEL, source_field, message)
    for index, entry in enumerate(stated.io):
        demand_known(entry.name, {*inputs, *outputs}, f"{field}.io[{index}].name", "input or output")
    if stated.verification:
        _check_names(stated.verification, inputs, outputs, f"{field}.verification")
    tensors = list(_network_inputs(stated, io))
    if not tensors:
        return
    wanted = Wanted(
        profiles=tuple(stated.profiles),
        # Where nothing is stated, outputs decide whether it batches, and TensorRT knows their shapes better.
        max_batch_size=0 if stated.profiles and max_batch_size is None else max_batch_size,
        opt_batch_size=stated.opt_batch_size,
        field=field,
        model_field=model_field,
    )
    plan(wanted, tensors, ())


def _network_inputs(stated: TensorRT, io: ModelIO) -> Iterator[NetworkTensor]:
    """Without those of which only TensorRT knows whether they are shape tensors."""
    of_shapes = {entry.name for profile in stated.profiles for entry in profile.shapes}
    of_values = {entry.name for profile in stated.profiles for entry in profile.values}
    for tensor in io.inputs:
        shape = (-1, *tensor.shape) if io.batchable else tensor.shape
        may_decide = len(shape) <= 1
        if not may_decide or tensor.name in of_shapes | of_values:
            yield NetworkTensor(tensor.name, shape, may_decide and tensor.name in of_values)


def _check_names(
    stated: EngineVerification, inputs: Sequence[str], outputs: Sequence[str], field: str
) -> None:
    for index, sample in enumerate(stated.samples):
        _check_sources(sample.inputs, inputs, f"{field}.samples[{index}].inputs", "input")
        _check_sources(sample.outputs, outputs, f"{field}.samples[{index}].outputs", "output")
    names = [entry.name for entry in stated.outputs]
    for index, name in enumerate(names):
        at = f"{field}.outputs[{index}].name"
        demand_known(name, set(outputs), at, "output")
        if name in names[:index]:
            raise fault(Reason.INVALID_SPEC, at, f"{name!r} stands here twice: remove one")


def _check_sources(sources: Sequence[NamedSource], names: Sequence[str], field: str, what: str) -> None:
    for index, source in enumerate(sources):
        demand_known(source.name, set(names), f"{field}[{index}].name", what)
