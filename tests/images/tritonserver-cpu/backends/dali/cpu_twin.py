"""Rewrites a serialised DALI pipeline so that it runs without a GPU.

Every ``mixed`` and ``gpu`` operator becomes its CPU counterpart; an operator without one is refused by DALI
when the pipeline is built. The rewriting walks the protobuf wire format, since DALI ships no schema with its
wheel. The fields it touches (numbers of DALI's PipelineDef, seen in files of DALI 2.4):

- 2: the largest batch size;
- 5: an operator; in it 2 and 3 are inputs and outputs (their field 2 is the device) and 4 the arguments
  (1: name, 5: string value), of which ``device`` counts;
- 7: a pipeline output (field 2 is the device);
- 8: the GPU's number, or a constant that means none.
"""

from collections.abc import Callable, Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BATCH_SIZE, _OPERATOR, _PIPELINE_OUTPUT, _DEVICE_ID = 2, 5, 7, 8
_INPUT, _OUTPUT, _ARGUMENT = 2, 3, 4
_ARGUMENT_NAME, _ARGUMENT_STRING = 1, 5
_DEVICE = 2
_NO_GPU = -99999 & 0xFFFFFFFFFFFFFFFF  # as protobuf writes a negative int32


def to_cpu(serialized: bytes) -> bytes:
    """Return the pipeline with every device set to ``cpu``.

    Raises:
        ValueError: these bytes are no protobuf message.

    """
    kept = b"".join(
        _field(number, kind, value) for number, kind, value in _fields(serialized) if number != _DEVICE_ID
    )
    rewritten = _rewrite(kept, {_OPERATOR: _operator, _PIPELINE_OUTPUT: _tensor})
    return rewritten + _field(_DEVICE_ID, _VARINT, _encode(_NO_GPU))


def batch_size(serialized: bytes) -> int:
    """Return the batch size that the pipeline was defined with."""
    values = [value for number, _, value in _fields(serialized) if number == _BATCH_SIZE]
    return _decode(values[-1], 0)[0] if values else 1


def _operator(message: bytes) -> bytes:
    return _rewrite(message, {_INPUT: _tensor, _OUTPUT: _tensor, _ARGUMENT: _argument})


def _tensor(message: bytes) -> bytes:
    return _rewrite(message, {_DEVICE: lambda _: b"cpu"})


def _argument(message: bytes) -> bytes:
    names = [value for number, _, value in _fields(message) if number == _ARGUMENT_NAME]
    return _rewrite(message, {_ARGUMENT_STRING: lambda _: b"cpu"}) if names == [b"device"] else message


def _rewrite(message: bytes, changes: dict[int, Callable[[bytes], bytes]]) -> bytes:
    return b"".join(
        _field(number, kind, changes[number](value) if number in changes and kind == _BYTES else value)
        for number, kind, value in _fields(message)
    )


def _field(number: int, kind: int, value: bytes) -> bytes:
    length = _encode(len(value)) if kind == _BYTES else b""
    return _encode(number << 3 | kind) + length + value


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, wire type, value); the value of a varint stays encoded."""
    position = 0
    while position < len(message):
        tag, position = _decode(message, position)
        kind, start = tag & 7, position
        if kind == _VARINT:
            _, position = _decode(message, position)
        elif kind == _BYTES:
            length, start = _decode(message, position)
            position = start + length
        elif kind in {_FIXED32, _FIXED64}:
            position += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {start}: this is no serialised pipeline")
        if position > len(message):
            raise ValueError("the serialised pipeline ends in the middle of a field")
        yield tag >> 3, kind, message[start:position]


def _decode(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("a broken number in the serialised pipeline")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position


def _encode(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if not value:
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)
