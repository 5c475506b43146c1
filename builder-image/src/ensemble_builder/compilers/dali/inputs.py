"""What requests must bring: names, types and axes of a pipeline's inputs, from its serialised form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble_builder.compilers.dali.serialized import NO_TYPE, TRITON_TYPES, Operator, SerializedPipeline
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

ENCODED = "TYPE_UINT8"


@dataclass(frozen=True)
class Input:
    """An input without its batch axis. `dims` None: only the number of axes is known."""

    name: str
    data_type: str
    ndim: int
    dims: tuple[int, ...] | None
    family: str = ""
    sequence_length: int | None = None
    pads_last_sequence: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dims or (-1,) * self.ndim


def read_inputs(
    pipeline: SerializedPipeline, *, field: str, stated: Sequence[Mapping[str, Any]], batched: bool
) -> tuple[Input, ...]:
    """Inputs in the pipeline's order.

    Args:
        pipeline: the serialised pipeline.
        field: path of the model's dali in the resource, for faults.
        stated: the model's config.input, which wins; without batching its dims begin with the batch axis.
        batched: max_batch_size is not 0.

    Raises:
        FaultError: InvalidPipeline quoting the operator's line, with the cure.
    """
    if not pipeline.inputs:
        raise _no_input(pipeline, field)
    by_name = {entry.get("name"): entry for entry in stated}
    return tuple(
        _input(pipeline, operator, by_name.get(operator.name, {}), field, batched=batched)
        for operator in pipeline.inputs
    )


def check_stated(
    pipeline: SerializedPipeline, stated: Sequence[Mapping[str, Any]], *, config_field: str
) -> None:
    """The model's config.input may say what the pipeline leaves open, and nothing else.

    Raises:
        FaultError: InvalidConfig.
    """
    types = {operator.name: TRITON_TYPES.get(operator.dtype) for operator in pipeline.inputs}
    for index, entry in enumerate(stated):
        own, said = types.get(str(entry.get("name"))), entry.get("data_type")
        if own and said and own != said:
            field = f"{config_field}.input[{index}].data_type"
            message = f"{said} is stated, the pipeline takes {own}: write {own}"
            raise FaultError(Fault(code=Reason.INVALID_CONFIG, field=field, message=message))


def quote(operator: Operator) -> str:
    """`line 12 `x = fn.resize(…)`: `, or nothing where the line is not known."""
    return f"line {operator.line.number} `{operator.line.text}`: " if operator.line else ""


def _invalid(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_PIPELINE, field=f"{field}.source", message=message))


def _no_input(pipeline: SerializedPipeline, field: str) -> FaultError:
    readers = [operator for operator in pipeline.operators if "reader" in operator.schema.lower()]
    if readers:
        return _invalid(
            field,
            f'{quote(readers[0])}no input: replace the reader by fn.external_source(name="…")',
        )
    return _invalid(
        field, 'no input: the outputs must depend on an fn.external_source(name="…"), which requests feed'
    )


def _input(
    pipeline: SerializedPipeline, operator: Operator, stated: Mapping[str, Any], field: str, *, batched: bool
) -> Input:
    if not operator.named:
        raise _invalid(
            field, f'{quote(operator)}the input has no name: add name="…", which requests address it by'
        )
    decoder = operator if operator.family else pipeline.decoder_of(operator.name)
    dims = tuple(int(size) for size in stated.get("dims", ()))[0 if batched else 1 :] or None
    data_type = stated.get("data_type") or TRITON_TYPES.get(operator.dtype, "")
    if not data_type and operator.dtype != NO_TYPE:
        raise _invalid(
            field, f"{quote(operator)}Triton cannot pass on this dtype: use a numeric type or types.BOOL"
        )
    ndim = operator.ndim if operator.ndim is not None else len(operator.layout) or None
    if decoder:
        data_type, ndim = data_type or ENCODED, 1 if ndim is None else ndim
    elif ndim is None and dims:
        ndim = len(dims)
    if not data_type or ndim is None:
        lacking = " and ".join(
            text for text, needed in (("dtype=types.…", not data_type), ("ndim=…", ndim is None)) if needed
        )
        raise _invalid(
            field, f"{quote(operator)}input {operator.name!r} does not say what it takes: add {lacking}"
        )
    if ndim == 0:
        raise _invalid(
            field, f"{quote(operator)}Triton has no input without axes: use ndim=1, and send one value in it"
        )
    return Input(
        name=operator.name,
        data_type=data_type,
        ndim=ndim,
        dims=dims if dims and len(dims) == ndim else None,
        family=decoder.family if decoder and data_type == ENCODED and ndim == 1 else "",
        sequence_length=operator.sequence_length,
        pads_last_sequence=operator.pads_last_sequence,
    )
