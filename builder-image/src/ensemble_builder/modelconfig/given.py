"""Hand-written ensembles: nothing is changed, but what the server would refuse is found here."""

from __future__ import annotations

from collections.abc import Mapping

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.batching import check_batch_size
from ensemble_builder.modelconfig.errors import invalid_wiring
from ensemble_builder.modelconfig.graph import Endpoint, Signature, wiring_of_config
from ensemble_builder.modelconfig.wiring import (
    Graph,
    check_output_origins,
    check_wiring,
    missing_dali_outputs,
)


def check_given_ensemble(config: ModelConfig, field: str, signatures: Mapping[str, Signature]) -> Signature:
    """Checks a hand-written ensemble.

    Args:
        config: its config.
        field: path of its source in the resource.
        signatures: all models it may call, by name.

    Raises:
        FaultError: InvalidWiring, if the server would refuse the ensemble or fail all its requests. The
            message begins with the place in config.pbtxt, as no field of the resource leads there.
    """
    try:
        return _checked(config, signatures)
    except FaultError as error:
        fault = error.fault
        told = f"config.pbtxt of {config.name}, {fault.field}: {fault.message}"
        raise FaultError(fault.model_copy(update={"field": field, "message": told})) from error


def _checked(config: ModelConfig, signatures: Mapping[str, Signature]) -> Signature:
    wiring = wiring_of_config(config)
    declared = {tensor.name for tensor in (*config.input, *config.output)}
    graph = check_wiring(wiring, signatures, declared=declared)
    for step, output in missing_dali_outputs(wiring, signatures):
        raise invalid_wiring(
            f"{step.field}.output_map",
            f"{step.label}: output {output} of the DALI pipeline is not mapped, and DALI fails requests that "
            "leave one out: map it, or drop it from the pipeline's return",
        )
    check_batch_size(config.max_batch_size, config.name, wiring, signatures, "max_batch_size")
    _check_ends(config, graph)
    check_output_origins(graph, [tensor.name for tensor in config.output])
    return Signature(config.name, config, versions=frozenset({1}), decoupled=graph.decoupled)


def _check_ends(config: ModelConfig, graph: Graph) -> None:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for tensor in graph.unfed:
        if tensor not in inputs:
            raise invalid_wiring(
                graph.consumers[tensor][0].link.field,
                f"tensor {tensor} is written by no step and no input of {config.name}: add it to one",
            )
    for tensor in graph.unconsumed:
        if tensor not in outputs:
            raise invalid_wiring(
                graph.producers[tensor].link.field,
                f"tensor {tensor} is read by no step and no output of {config.name}, and the server refuses "
                "unused tensors: drop it, or make it an output",
            )
    for name in inputs - graph.consumers.keys():
        raise invalid_wiring("input", f"input {name} of {config.name} is read by no step: remove it")
    for name in outputs - graph.producers.keys():
        raise invalid_wiring("output", f"output {name} of {config.name} is written by no step: remove it")
    for key, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            dims = tuple(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
            writers = (graph.producers[tensor.name],) if key == "output" else ()
            ends = (*writers, *graph.consumers.get(tensor.name, ()))
            for end in ends:
                own = Endpoint(end.step, end.link, tensor.data_type, dims, config.max_batch_size > 0)
                if not own.fits(end):
                    full = own.batching != end.batching
                    raise invalid_wiring(
                        end.link.field,
                        f"{key} {tensor.name} of {config.name} is {own.written(full=full)}, but "
                        f"{end.step.label} has {end.written(full=full)} as {end.link.name}: correct one of "
                        "them",
                    )
