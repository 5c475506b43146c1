"""A serialised DALI pipeline, read without DALI and without running user code.

The format is the protobuf package `dali_proto` that libdali.so carries (dali.proto). Only the fields needed
here are declared; protobuf keeps the others, so that a rewritten pipeline loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NO_TYPE = -1

SOURCE_NAME = "/pipeline.py"
"""The one path under which users' files are compiled: DALI stores it in the pipeline."""

TRITON_TYPES: dict[int, str] = {
    0: "TYPE_UINT8",
    1: "TYPE_UINT16",
    2: "TYPE_UINT32",
    3: "TYPE_UINT64",
    4: "TYPE_INT8",
    5: "TYPE_INT16",
    6: "TYPE_INT32",
    7: "TYPE_INT64",
    8: "TYPE_FP16",
    9: "TYPE_FP32",
    10: "TYPE_FP64",
    11: "TYPE_BOOL",
}
"""DALIDataType's numbers, as far as the DALI backend passes them on (dali_backend src/config_tools)."""

_TO_CPU = {"gpu": "cpu", "mixed": "cpu"}
_CREATED_BY_CODE = ("_origin_stack_filename", "_origin_stack_lineno", "_origin_stack_line")
_PASS_THROUGH = frozenset({"MakeContiguous", "Copy", "Identity", "Reinterpret", "Reshape"})


@dataclass(frozen=True)
class Line:
    """Where the user's file creates an operator."""

    number: int
    text: str


@dataclass(frozen=True)
class Operator:
    """One operator. `schema` is DALI's name, e.g. decoders__Image; `device` is cpu, gpu or mixed."""

    schema: str
    name: str
    device: str
    named: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: int
    ndim: int | None
    layout: str
    sequence_length: int | None
    pads_last_sequence: bool
    line: Line | None

    @property
    def is_external_source(self) -> bool:
        return self.schema == "ExternalSource"

    @property
    def is_input(self) -> bool:
        """Fed by requests: fn.external_source, or an operator of fn.inputs."""
        return self.is_external_source or "inputs__" in self.schema

    @property
    def family(self) -> str:
        """What it decodes: image, audio or video; empty for all else."""
        schema = self.schema.lower()
        for kind in ("image", "audio", "video"):
            if kind in schema and ("decoder" in schema or "inputs__" in schema or "peekimage" in schema):
                return kind
        return ""


@dataclass(frozen=True)
class Output:
    """An output. `dtype` NO_TYPE and `ndim` None: not declared by output_dtype, output_ndim."""

    name: str
    named: bool
    dtype: int
    ndim: int | None


@dataclass(frozen=True)
class SerializedPipeline:
    """`gpu`: an operator or an edge lies on the GPU, so that the server needs one."""

    batch_size: int
    operators: tuple[Operator, ...]
    outputs: tuple[Output, ...]
    gpu: bool

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return tuple(operator for operator in self.operators if operator.is_input)

    @property
    def decoupled(self) -> bool:
        """One request has several responses: an operator of fn.inputs takes it apart."""
        return any(not operator.is_external_source for operator in self.inputs)

    def decoder_of(self, tensor: str) -> Operator | None:
        """The decoder that `tensor` reaches unchanged, if one does."""
        for operator in self.operators:
            if tensor not in operator.inputs:
                continue
            if operator.family:
                return operator
            if operator.schema in _PASS_THROUGH:
                found = next(filter(None, map(self.decoder_of, operator.outputs)), None)
                if found:
                    return found
        return None


def parse(data: bytes) -> SerializedPipeline:
    """Raises google.protobuf.message.DecodeError for anything but a serialised pipeline."""
    message = _message_class()()
    message.ParseFromString(data)
    operators = tuple(map(_operator, message.op))
    producers = {name: operator for operator in operators for name in operator.outputs}
    devices = {operator.device for operator in operators} | {edge.device for edge in _edges(message)}
    return SerializedPipeline(
        batch_size=message.batch_size,
        operators=operators,
        outputs=tuple(_output(entry, producers) for entry in message.pipe_outputs),
        gpu=not devices.isdisjoint(_TO_CPU),
    )


def cpu_twin(data: bytes) -> bytes:
    """The same pipeline with every operator and edge on the CPU, so that it runs where there is no GPU."""
    message = _message_class()()
    message.ParseFromString(data)
    for operator in message.op:
        for argument in operator.args:
            if argument.name == "device" and list(argument.strings):
                argument.strings[:] = [_TO_CPU.get(device, device) for device in argument.strings]
    for edge in _edges(message):
        edge.device = _TO_CPU.get(edge.device, edge.device)
    return bytes(message.SerializeToString(deterministic=True))


def _edges(message: Any) -> Iterator[Any]:
    for operator in message.op:
        yield from operator.input
        yield from operator.output
    yield from message.pipe_outputs


def _operator(message: Any) -> Operator:
    arguments = {argument.name: argument for argument in message.args}
    dtype, ndim = _first(arguments, "dtype", "ints"), _first(arguments, "ndim", "ints")
    kept = _first(arguments, "preserve_name", "bools")
    return Operator(
        schema=message.name,
        name=message.inst_name,
        device=_first(arguments, "device", "strings") or "cpu",
        named=kept is not False and not message.inst_name.startswith("__"),
        inputs=tuple(edge.name for edge in message.input),
        outputs=tuple(edge.name for edge in message.output),
        dtype=NO_TYPE if dtype is None else dtype,
        ndim=ndim if ndim is None or ndim >= 0 else None,
        layout=_first(arguments, "layout", "strings") or "",
        sequence_length=_first(arguments, "sequence_length", "ints"),
        pads_last_sequence=_first(arguments, "last_sequence_policy", "strings") == "pad",
        line=_line(arguments),
    )


def _first(arguments: dict[str, Any], name: str, kind: str) -> Any:
    """First value of an argument, whether it is single or a vector; None where absent."""
    argument = arguments.get(name)
    if argument is None:
        return None
    values: Iterable[Any] = getattr(argument, kind) or [
        value for element in argument.extra_args for value in getattr(element, kind)
    ]
    return next(iter(values), None)


def _line(arguments: dict[str, Any]) -> Line | None:
    """The innermost frame in the user's file, of the stack that DALI stores with each operator."""
    if not all(name in arguments for name in _CREATED_BY_CODE):
        return None
    files, numbers, texts = (
        [value for element in arguments[name].extra_args for value in (*element.strings, *element.ints)]
        for name in _CREATED_BY_CODE
    )
    stack = zip(files, numbers, texts, strict=True)
    own = [Line(number, text) for file, number, text in stack if file == SOURCE_NAME]
    return own[-1] if own else None


def _output(message: Any, producers: dict[str, Operator]) -> Output:
    producer = producers.get(message.name)
    return Output(
        name=message.name,
        named=bool(producer and producer.named and not producer.is_input),
        dtype=message.dtype,
        ndim=message.ndim if message.ndim >= 0 else None,
    )


_Field = descriptor_pb2.FieldDescriptorProto
_ONE, _MANY, _NEEDED = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED, _Field.LABEL_REQUIRED
_SCHEMA: dict[str, tuple[tuple[str, int, Any, Any, str], ...]] = {
    "Argument": (
        ("name", 1, _NEEDED, _Field.TYPE_STRING, ""),
        ("floats", 3, _MANY, _Field.TYPE_FLOAT, ""),
        ("ints", 4, _MANY, _Field.TYPE_INT64, ""),
        ("strings", 5, _MANY, _Field.TYPE_STRING, ""),
        ("bools", 6, _MANY, _Field.TYPE_BOOL, ""),
        ("extra_args", 7, _MANY, _Field.TYPE_MESSAGE, "Argument"),
    ),
    "InputOutput": (
        ("name", 1, _NEEDED, _Field.TYPE_STRING, ""),
        ("device", 2, _NEEDED, _Field.TYPE_STRING, ""),
        ("dtype", 5, _ONE, _Field.TYPE_INT32, "-1"),
        ("ndim", 6, _ONE, _Field.TYPE_INT32, "-1"),
    ),
    "OpDef": (
        ("name", 1, _NEEDED, _Field.TYPE_STRING, ""),
        ("input", 2, _MANY, _Field.TYPE_MESSAGE, "InputOutput"),
        ("output", 3, _MANY, _Field.TYPE_MESSAGE, "InputOutput"),
        ("args", 4, _MANY, _Field.TYPE_MESSAGE, "Argument"),
        ("inst_name", 5, _ONE, _Field.TYPE_STRING, ""),
    ),
    "PipelineDef": (
        ("batch_size", 2, _NEEDED, _Field.TYPE_INT32, ""),
        ("op", 5, _MANY, _Field.TYPE_MESSAGE, "OpDef"),
        ("pipe_outputs", 7, _MANY, _Field.TYPE_MESSAGE, "InputOutput"),
    ),
}


@lru_cache(maxsize=1)
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="ensemble_builder/dali.proto", package="dali_proto", syntax="proto2"
    )
    for message, fields in _SCHEMA.items():
        descriptor = file.message_type.add(name=message)
        for name, number, label, kind, extra in fields:
            field = descriptor.field.add(name=name, number=number, label=label, type=kind)
            if kind == _Field.TYPE_MESSAGE:
                field.type_name = f".dali_proto.{extra}"
            elif extra:
                field.default_value = extra
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("dali_proto.PipelineDef"))
