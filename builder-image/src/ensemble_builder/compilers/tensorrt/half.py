"""An FP32 graph computed in half precision, for builders that take types from the ONNX alone.

ONNX Runtime's converter was the only one of three whose graphs were valid for every model tried; it leaves
the order of nodes to others, and its result is believed only after a check of the graph and of the parsed
network.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model

from ensemble_builder.compilers.tensorrt.graph import Graph, nodes, sort
from ensemble_builder.compilers.tensorrt.report import fault
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason

_WEIGHTS = "weights"
_HALF = onnx.TensorProto.FLOAT16


def converter() -> str:
    """Name and version of what converts."""
    import onnxruntime  # noqa: PLC0415 - as below

    return f"onnxruntime {onnxruntime.__version__}"


def converted(graph: Graph, *, kept: AbstractSet[str], types: Mapping[str, int], scratch: Path) -> Graph:
    """The graph in half precision, written to `scratch`/half with its weights beside it.

    Args:
        graph: not changed.
        kept: names of nodes that stay in FP32.
        types: ONNX types of inputs and outputs; those not named keep theirs.
        scratch: a folder.

    Raises:
        FaultError: NotSupported where the image has no converter, InvalidModel where the graph cannot be
            converted.
    """
    try:
        from onnxruntime.transformers import float16  # noqa: PLC0415 - large, and only needed here
    except ImportError as error:
        raise fault(
            Reason.NOT_SUPPORTED,
            f"{graph.field}.precision",
            "this builder image has no onnxruntime, which converts to half precision: use a release's "
            "builder image, or convert the ONNX yourself",
        ) from error
    folder = scratch / "half"
    folder.mkdir()
    model = _inferred(graph, folder)
    values = (*model.graph.input, *model.graph.output)
    staying = [value.name for value in values if types.get(value.name) != _HALF]
    try:
        model = float16.convert_float_to_float16(
            model,
            keep_io_types=staying,
            disable_shape_infer=True,
            op_block_list=float16.DEFAULT_OP_BLOCK_LIST,
            node_block_list=sorted(kept),
        )
        _drop_round_trips(model.graph, own={node.name for node in nodes(graph.model.graph)})
        sort(model.graph)
        path = folder / "model.onnx"
        onnx.save(model, path, save_as_external_data=True, location=_WEIGHTS, size_threshold=1024)
        onnx.checker.check_model(str(path))
    except (ValueError, AssertionError, onnx.checker.ValidationError) as error:
        # An operator of a plugin is unknown to ONNX; TensorRT's parser judges it.
        if "No Op registered" not in str(error):
            raise _failed(graph, str(error)) from error
    return replace(graph, model=onnx.load(path, load_external_data=False), path=path)


def _inferred(graph: Graph, folder: Path) -> onnx.ModelProto:
    """With the type of every tensor: the converter casts only what it knows. By way of files, as graphs with
    their weights may exceed protobuf's 2 GiB.
    """
    plain, inferred = folder / "plain.onnx", folder / "inferred.onnx"
    plain.write_bytes(graph.model.SerializeToString())
    try:
        onnx.shape_inference.infer_shapes_path(str(plain), str(inferred))
        model = onnx.load(inferred, load_external_data=False)
        load_external_data_for_model(model, str(graph.path.parent))
    except (onnx.shape_inference.InferenceError, ValueError, DecodeError, OSError) as error:
        raise _failed(graph, str(error)) from error
    return model


def _drop_round_trips(graph: onnx.GraphProto, *, own: AbstractSet[str]) -> None:
    """Between nodes kept in FP32, and before outputs of that type, the converter rounds to half for nothing.

    Args:
        graph: changed in place.
        own: names of nodes that are the user's; their casts stay.
    """
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast" and node.name not in own}
    for node in casts.values():
        before = casts.get(node.input[0])
        if before is not None and _cast_to(before) == _HALF and _cast_to(node) == onnx.TensorProto.FLOAT:
            node.op_type = "Identity"
            node.input[0] = before.input[0]
            del node.attribute[:]


def _cast_to(node: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "to")


def _failed(graph: Graph, why: str) -> FaultError:
    said = " ".join(why.split())[:400]
    return fault(
        Reason.INVALID_MODEL,
        f"{graph.field}.precision",
        f"the ONNX cannot be converted to half precision ({said}): export it in fp16, keep the operators at "
        "fault by keepFp32, or choose tf32",
    )
