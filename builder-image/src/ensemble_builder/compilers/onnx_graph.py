"""What an ONNX file says of itself: tensors, batching, operator sets, external data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError

from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, ModelIO, Tensor
from ensembles_api.reasons import Reason

TRITON_TYPES: Mapping[int, str] = {
    onnx.TensorProto.BOOL: "TYPE_BOOL",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.UINT16: "TYPE_UINT16",
    onnx.TensorProto.UINT32: "TYPE_UINT32",
    onnx.TensorProto.UINT64: "TYPE_UINT64",
    onnx.TensorProto.INT8: "TYPE_INT8",
    onnx.TensorProto.INT16: "TYPE_INT16",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.DOUBLE: "TYPE_FP64",
    onnx.TensorProto.BFLOAT16: "TYPE_BF16",
    onnx.TensorProto.STRING: "TYPE_STRING",
}

PROTOBUF_LIMIT = 2**31 - 1
"""Largest protobuf message; bigger models keep their weights in external data."""


@dataclass(frozen=True)
class OnnxFacts:
    """Facts of one graph. `external_data`: POSIX path relative to the model's folder -> bytes that the file
    must have at least, sorted.
    """

    io: ModelIO
    opsets: Mapping[str, int]
    external_data: Mapping[str, int]
    ir_version: int


def inspect(model_file: Path, *, field: str) -> OnnxFacts:
    """Read a graph's facts; external data need not be there.

    Args:
        model_file: the .onnx file.
        field: path of the source in the resource, for faults.

    Raises:
        FaultError: InvalidModel with what the file is and the cure.
    """
    graph = _Graph(_load(model_file, field), field)
    return OnnxFacts(
        io=graph.io(),
        opsets={entry.domain or "ai.onnx": entry.version for entry in graph.model.opset_import},
        external_data=graph.external_data(),
        ir_version=graph.model.ir_version,
    )


def _fault(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_MODEL, field=field, message=message))


def _load(model_file: Path, field: str) -> onnx.ModelProto:
    size = model_file.stat().st_size
    if size > PROTOBUF_LIMIT:
        raise _fault(
            field,
            f"{model_file.name} has {size} bytes, more than one ONNX file can hold (2 GiB): save the "
            "model with external data (onnx.save(..., save_as_external_data=True)) and give the folder",
        )
    with model_file.open("rb") as file:
        looks = _looks_like(file.read(512), size)
    if looks:
        raise _fault(field, f"{model_file.name} is not an ONNX file: {looks}")
    try:
        model = onnx.load(model_file, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise _fault(
            field,
            f"{model_file.name} is not an ONNX file or was cut short at {size} bytes: upload it again, and "
            "check that onnx.load opens the original",
        ) from error
    if not model.ir_version or not model.HasField("graph") or not model.opset_import:
        raise _fault(
            field,
            f"{model_file.name} is not an ONNX file: it can be read as protobuf, but has no ONNX version or "
            "graph; name the .onnx file that the exporter wrote",
        )
    broken = next((name for name in _names(model) if isinstance(name, bytes)), None)
    if broken is not None:
        raise _fault(
            field,
            f"the name {broken!r} in {model_file.name} is no UTF-8, as ONNX demands: rename it, and "
            "export again",
        )
    return model


_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "it is a git-lfs pointer; run `git lfs pull` and upload the file itself"),
    (0, b"\x1f\x8b", "it is gzip-compressed; decompress it before uploading"),
    (0, b"BZh", "it is bzip2-compressed; decompress it before uploading"),
    (0, b"\xfd7zXZ", "it is xz-compressed; decompress it before uploading"),
    (0, b"\x28\xb5\x2f\xfd", "it is zstd-compressed; decompress it before uploading"),
    (0, b"PK\x03\x04", "it is a zip archive, as PyTorch's torch.save writes; export with torch.onnx.export"),
    (0, b"\x80\x02", "it is a Python pickle, as older PyTorch wrote; export with torch.onnx.export"),
    (0, b"\x89HDF\r\n", "it is HDF5, as Keras writes; convert it with tf2onnx"),
    (0, b"ftrt", "it is a TensorRT engine; give the ONNX file it was built from"),
    (0, b"ptrt", "it is a TensorRT engine; give the ONNX file it was built from"),
    (4, b"ORTM", "it is in ONNX Runtime's ORT format; give the .onnx file it was made from"),
    (4, b"TFL3", "it is a TensorFlow Lite model; convert it with tf2onnx"),
)
"""Offset, bytes there, and what they mean."""


def _looks_like(head: bytes, size: int) -> str:
    """What a file is that is not ONNX, with the cure; empty where it may be ONNX."""
    if not size:
        return "it is empty; upload it again"
    for offset, signature, meaning in _SIGNATURES:
        if head.startswith(signature, offset):
            return meaning
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page, probably a download or login page; fetch the file itself and upload it"
    if text.startswith(b"<?xml"):
        return "it is an XML document, such as an error page of a storage server; upload the model itself"
    if text.startswith((b"{", b"ir_version:")):
        return "it is text, not the binary form; save it with onnx.save"
    return ""


@dataclass(frozen=True)
class _Graph:
    model: onnx.ModelProto
    field: str

    def io(self) -> ModelIO:
        graph = self.model.graph
        # Before IR version 4 every initialiser stood among the inputs as well; it has its value already.
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {tensor.values.name for tensor in graph.sparse_initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        outputs = list(self._with_shapes(graph.output))
        if not outputs:
            raise _fault(self.field, "the graph has no output; export it with at least one")
        ins = {value.name: self._shape(value, "input") for value in inputs}
        outs = {value.name: self._shape(value, "output") for value in outputs}
        shapes = [*ins.values(), *outs.values()]
        batchable = bool(ins) and all(shape and shape[0] < 0 for shape in shapes)
        axes = slice(1 if batchable else 0, None)
        return ModelIO(
            batchable=batchable,
            inputs=tuple(self._tensor(value, ins[value.name][axes], "input") for value in inputs),
            outputs=tuple(self._tensor(value, outs[value.name][axes], "output") for value in outputs),
        )

    def _with_shapes(self, values: Iterator[onnx.ValueInfoProto]) -> Iterator[onnx.ValueInfoProto]:
        """Outputs, those stated without a shape replaced by what shape inference finds."""
        listed = list(values)
        if all(value.type.tensor_type.HasField("shape") for value in listed):
            yield from listed
            return
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model).graph.output
        except (onnx.shape_inference.InferenceError, ValueError, DecodeError):
            inferred = listed
        yield from inferred

    def _shape(self, value: onnx.ValueInfoProto, role: str) -> tuple[int, ...]:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            named = (kind or "no type").removesuffix("_type").replace("_", " ")
            cure = "; scikit-learn: options={'zipmap': False}" if named in ("sequence", "map") else ""
            raise _fault(
                self.field,
                f"{role} {value.name!r} is of type {named}, which Triton cannot pass on: export plain tensors"
                f"{cure}",
            )
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            raise _fault(
                self.field,
                f"{role} {value.name!r} has no shape, not even a number of axes: export it with its axes "
                "stated (free axes may stay free), or run onnx.shape_inference over the file",
            )
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
        if 0 in dims:
            raise _fault(
                self.field,
                f"axis {dims.index(0)} of {role} {value.name!r} has size 0: export it with its real size or "
                "as a dynamic axis",
            )
        return tuple(max(dim, -1) for dim in dims)

    def _tensor(self, value: onnx.ValueInfoProto, shape: tuple[int, ...], role: str) -> Tensor:
        element = value.type.tensor_type.elem_type
        if element not in TRITON_TYPES:
            names = {number: name for name, number in onnx.TensorProto.DataType.items()}
            raise _fault(
                self.field,
                f"{role} {value.name!r} has type {names.get(element, element)}, which Triton cannot pass on: "
                f"add a Cast to the graph's {role} and export again",
            )
        return Tensor(name=value.name, data_type=TRITON_TYPES[element], shape=shape)

    def external_data(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for tensor in _tensors(self.model):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                stated = {entry.key: entry.value for entry in tensor.external_data}
                path = self._inside(stated.get("location", ""), tensor.name)
                found[path] = max(found.get(path, 0), self._end(tensor, stated))
        return dict(sorted(found.items()))

    def _end(self, tensor: onnx.TensorProto, stated: Mapping[str, str]) -> int:
        """Where the tensor's bytes end in its file."""
        try:
            offset = int(stated.get("offset", 0))
            length = int(stated["length"]) if "length" in stated else _size(tensor)
        except ValueError:
            offset = length = -1
        if offset < 0 or length < 0:
            where = ", ".join(f"{key} {value!r}" for key, value in stated.items())
            raise _fault(
                self.field,
                f"weights of {tensor.name!r} lie at {where}, which is no place in a file: save the model "
                "again with its external data",
            )
        return offset + length

    def _inside(self, location: str, tensor: str) -> str:
        path = PurePosixPath(location)
        foreign = PureWindowsPath(location)
        if not location or path.is_absolute() or foreign.drive or "\\" in location or ".." in path.parts:
            raise _fault(
                self.field,
                f"weights of {tensor!r} lie at {location!r}, outside of the model's folder: save the model "
                "again with its external data beside it",
            )
        return str(path)


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """What is called something in the graph; protobuf gives the bytes of names that it cannot decode."""
    for tensor in _tensors(model):
        yield tensor.name
        yield from (entry.value for entry in tensor.external_data)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        yield from (value.name for value in (*graph.input, *graph.output, *graph.value_info))
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())]


def _size(tensor: onnx.TensorProto) -> int:
    """Bytes of its values, of those types at least that come one to a byte or more."""
    if tensor.data_type not in TRITON_TYPES or tensor.data_type == onnx.TensorProto.STRING:
        return 0
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    size: int = math.prod(tensor.dims) * kind.itemsize
    return size


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
                yield from _graph_tensors(graph)
