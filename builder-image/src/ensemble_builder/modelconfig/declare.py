"""`input` and `output` of a config: the artifact's tensors, with what the user states laid over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from ensemble_builder.modelconfig.errors import invalid_config, listed, nearest
from ensemble_builder.modelconfig.members import VersionKind
from ensemble_builder.modelconfig.merge import overlay
from ensemble_builder.modelconfig.tensors import ANY, Dims, compatible, written, written_tensor
from ensembles_api.contract import ModelIO, Tensor


@dataclass(frozen=True)
class Declaration:
    """How a model's tensors are written into its config."""

    kind: VersionKind
    io: ModelIO | None
    batching: bool
    """max_batch_size is greater than 0: dims leave the batch axis out."""
    field: str
    """Path of the config in the resource."""

    def model_dims(self, tensor: Tensor) -> Dims:
        """Shape of a tensor as the backend sees it, less the batch axis of a batching model.

        A batchable model that does not batch keeps its first axis as an ordinary free one.
        """
        if self.io is not None and self.io.batchable and not self.batching:
            return (ANY, *tensor.shape)
        return tensor.shape


def declare(
    declaration: Declaration, config: pb.ModelConfig, stated: Mapping[str, Any], supplied: frozenset[str]
) -> None:
    """Fills `config.input` and `config.output`.

    Args:
        declaration: the model's tensors and how to write them.
        config: changed in place; tensors it has already (of a given config.pbtxt) replace the model's.
        stated: the spec's config.
        supplied: tensors the server fills or keeps itself (sequence controls, state, batch inputs): left out.

    Raises:
        FaultError: InvalidConfig naming the stated tensor that contradicts the model.
    """
    io = declaration.io
    for key in ("input", "output"):
        present = getattr(config, key)
        tensors = [] if io is None else list(io.inputs if key == "input" else io.outputs)
        wanted = [tensor for tensor in tensors if tensor.name not in supplied]
        by_order = declaration.kind == "dali" and key == "output"
        base = [*present] or [_message(declaration, key, tensor) for tensor in wanted]
        merged = merge_tensors(
            base, stated.get(key) or [], f"{declaration.field}.{key}", make=_maker(key),
            by_order=by_order, closed=io is not None, artifact=tensors,
        )  # fmt: skip
        told = _with_entries(merged, stated.get(key) or [], by_order=by_order)
        for index, (message, entry) in enumerate(told):
            where = f"{declaration.field}.{key}[{index if entry is None else entry[0]}]"
            if entry is not None:
                _drop_generated_reshape(message, entry[1])
            found = _match(tensors, message.name, index, by_order=by_order)
            if found is not None and (entry is not None or present):
                _check(declaration, key, message, found, where)
        config.ClearField(key)
        getattr(config, key).extend(merged)


def merge_tensors(
    base: Sequence[Any],
    stated: Sequence[Mapping[str, Any]],
    field: str,
    *,
    make: Callable[[], Any],
    by_order: bool = False,
    closed: bool = False,
    artifact: Sequence[Tensor] = (),
) -> list[Any]:
    """Lays stated tensors over generated ones by name (or by order).

    Args:
        base: generated ModelInput or ModelOutput messages; not changed.
        stated: the spec's entries.
        field: path of the list.
        make: an empty message for an entry that matches none of `base`.
        by_order: entry i is tensor i, whatever its name (the DALI backend binds outputs so).
        closed: `base` and `artifact` are all there is: another name is an error.
        artifact: what the model has, for messages.
    """
    merged = [_copy(message) for message in base]
    names: set[str] = set()
    for index, entry in enumerate(stated):
        where = f"{field}[{index}]"
        name = str(entry.get("name") or "")
        if not name and not by_order:
            raise invalid_config(where, "state the tensor's name")
        if name and name in names:
            raise invalid_config(f"{where}.name", f"{name} stands here twice: remove one")
        names.add(name)
        position = index if by_order else next((i for i, m in enumerate(merged) if m.name == name), None)
        if position is None or position >= len(merged):
            if closed and not any(tensor.name == name for tensor in artifact):
                raise invalid_config(f"{where}.name", _unknown(name, artifact, by_order=by_order))
            merged.append(make())
            position = len(merged) - 1
        overlay(merged[position], entry)
    return merged


def _unknown(name: str, artifact: Sequence[Tensor], *, by_order: bool) -> str:
    has = listed(f"{tensor.name} {written_tensor(tensor)}" for tensor in artifact)
    if by_order:
        return f"the pipeline returns only {len(artifact)} output(s), {has}: remove {name or 'this entry'}"
    return (
        f"the model has no tensor {name}: it has {has}{nearest(name, [tensor.name for tensor in artifact])}"
    )


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _maker(key: str) -> Callable[[], Any]:
    return pb.ModelInput if key == "input" else pb.ModelOutput  # type: ignore[no-any-return]


def _with_entries(
    merged: Sequence[Any], stated: Sequence[Mapping[str, Any]], *, by_order: bool
) -> list[tuple[Any, tuple[int, Mapping[str, Any]] | None]]:
    """Each tensor with the index and text of the entry that spoke of it."""
    if by_order:
        return [(m, (i, stated[i]) if i < len(stated) else None) for i, m in enumerate(merged)]
    entries = {entry["name"]: (index, entry) for index, entry in enumerate(stated)}
    return [(message, entries.get(message.name)) for message in merged]


def _match(tensors: Sequence[Tensor], name: str, index: int, *, by_order: bool) -> Tensor | None:
    if by_order:
        return tensors[index] if index < len(tensors) else None
    return next((tensor for tensor in tensors if tensor.name == name), None)


def _message(declaration: Declaration, key: str, tensor: Tensor) -> Any:
    message = _maker(key)()
    message.name = tensor.name
    message.data_type = pb.DataType.Value(tensor.data_type)
    dims = declaration.model_dims(tensor)
    message.dims.extend(dims or (1,))
    if not dims and declaration.batching:
        # a scalar per sample: dims must not be empty, so that the model's own empty shape stands in reshape
        message.reshape.SetInParent()
    message.is_shape_tensor = tensor.is_shape_tensor
    if key == "input":
        message.optional = tensor.optional
        message.allow_ragged_batch = declaration.kind == "dali" and declaration.batching
    return message


def _drop_generated_reshape(message: Any, entry: Mapping[str, Any]) -> None:
    """A scalar's reshape goes with the dims it was generated for."""
    own_dims = entry.get("dims") is not None and entry.get("reshape") is None
    if own_dims and list(message.dims) != [1]:
        message.ClearField("reshape")


def _check(declaration: Declaration, key: str, message: Any, tensor: Tensor, where: str) -> None:
    """Holds a stated tensor against the artifact; what a given config leaves open is filled in."""
    expected = pb.DataType.Value(tensor.data_type)
    message.data_type = message.data_type or expected
    message.is_shape_tensor = message.is_shape_tensor or tensor.is_shape_tensor
    if not message.dims:
        message.dims.extend(declaration.model_dims(tensor) or (1,))
    if message.data_type != expected:
        raise invalid_config(
            f"{where}.data_type",
            f"{key} {tensor.name} is {written_tensor(tensor)} in the model, but "
            f"{pb.DataType.Name(message.data_type)} is stated: write {tensor.data_type} or leave data_type "
            "out",
        )
    ragged = key == "input" and message.allow_ragged_batch and declaration.kind != "dali"
    if ragged or (key == "input" and message.is_shape_tensor):
        return  # such dims do not describe the model's own axes
    shape = declaration.model_dims(tensor)
    if not declaration.batching:
        shape = shape or (1,)
    reshaped = message.HasField("reshape")
    dims = tuple(message.reshape.shape if reshaped else message.dims)
    if not _fits(declaration.kind, dims, shape):
        part = "reshape.shape" if reshaped else "dims"
        hint = "; leave the batch axis out" if declaration.batching and len(dims) == len(shape) + 1 else ""
        raise invalid_config(
            f"{where}.{part}",
            f"{key} {tensor.name} is {written(expected, shape)} in the model, but {list(dims)} is "
            f"stated{hint}",
        )


def _fits(kind: VersionKind, dims: Dims, shape: Dims) -> bool:
    """The backends differ: ONNX Runtime's refuses -1 for a size the model fixes, the others take it."""
    if not compatible(dims, shape):
        return False
    return kind != "onnxruntime" or all(own in (stated, ANY) for stated, own in zip(dims, shape, strict=True))
