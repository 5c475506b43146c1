"""What a pipeline returns: as the resource states, as it declares, or as it was seen on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble_builder.compilers.dali.serialized import NO_TYPE, TRITON_TYPES, Output, SerializedPipeline
from ensemble_builder.compilers.dali.twin import Observed
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, Tensor
from ensembles_api.reasons import Reason

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class Finding:
    """The CPU run's answer. `samples`: outputs of each sample that ran; `why_not`: why there is none.

    `varied`: two samples of different size ran, so that an axis equal in all is of fixed size.
    """

    samples: tuple[tuple[Observed, ...], ...] = ()
    varied: bool = False
    why_not: str = ""


def read_outputs(
    pipeline: SerializedPipeline,
    finding: Finding,
    *,
    stated: Sequence[Mapping[str, Any]],
    config_field: str,
    batched: bool,
) -> tuple[Tensor, ...]:
    """Tensors without batch axis, in the pipeline's order.

    Args:
        pipeline: the serialised pipeline.
        finding: what the CPU run showed.
        stated: the model's config.output; entries belong to outputs by order, as in the DALI backend.
        config_field: path of the model's config, for faults.
        batched: max_batch_size is not 0; otherwise stated dims begin with the batch axis.

    Raises:
        FaultError: a stated fact contradicts the pipeline, or a fact is neither stated nor to be found.
    """
    if len(stated) > len(pipeline.outputs):
        raise _contradiction(
            f"{config_field}.output",
            f"{len(stated)} outputs are stated, the pipeline has {len(pipeline.outputs)}: remove the others",
        )
    entries = [*stated, *({} for _ in pipeline.outputs[len(stated) :])]
    names = _names(pipeline.outputs, entries)
    return tuple(
        _Facts(
            name=names[index],
            output=output,
            seen=tuple(outputs[index] for outputs in finding.samples),
            finding=finding,
            stated=entries[index],
            field=f"{config_field}.output[{index}]",
            batched=batched,
        ).tensor()
        for index, output in enumerate(pipeline.outputs)
    )


def _names(outputs: Sequence[Output], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Stated, else the name the user gave the operator (as the server completes it), else DALI_OUTPUT_<i>."""
    own = [output.name if output.named else "" for output in outputs]
    return [
        str(entry.get("name") or (name if own.count(name) == 1 else "") or f"DALI_OUTPUT_{index}")
        for index, (entry, name) in enumerate(zip(entries, own, strict=True))
    ]


def fits(observed: Observed, tensor: Tensor) -> bool:
    """Whether every shape seen agrees with the tensor's, and Triton can pass the responses on."""
    return not observed.uneven and all(
        len(shape) == len(tensor.shape)
        and all(size in (-1, seen) for size, seen in zip(tensor.shape, shape, strict=True))
        for shape in observed.shapes
    )


def _contradiction(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_CONFIG, field=field, message=message))


@dataclass(frozen=True)
class _Facts:
    name: str
    output: Output
    seen: tuple[Observed, ...]
    finding: Finding
    stated: Mapping[str, Any]
    field: str
    batched: bool

    def tensor(self) -> Tensor:
        return Tensor(name=self.name, data_type=self._data_type(), shape=self._shape())

    def _data_type(self) -> str:
        number = self.seen[0].dtype if self.seen else self.output.dtype
        found = TRITON_TYPES.get(number, "")
        stated = str(self.stated.get("data_type") or "")
        if stated and found and stated != found:
            raise _contradiction(
                f"{self.field}.data_type", f"{stated} is stated, the pipeline returns {found}: write {found}"
            )
        if stated or found:
            return stated or found
        if number != NO_TYPE:
            raise _contradiction(
                self.field,
                f"{self.name} has a type that Triton cannot pass on: end the pipeline with fn.cast",
            )
        raise self._unknown("data_type", "output_dtype")

    def _shape(self) -> _Shape:
        observed = self._observed_shape()
        stated = tuple(int(size) for size in self.stated.get("dims", ()))
        if not self.batched:
            stated = stated[1:]
        if stated:
            self._check(stated, observed)
            return stated
        if observed is not None:
            return observed
        if self.output.ndim is not None:
            return (-1,) * self.output.ndim
        raise self._unknown("dims", "output_ndim")

    def _observed_shape(self) -> _Shape | None:
        """Sizes that are the same in all shapes seen; -1 where they differ or too little was seen."""
        shapes = [shape for observed in self.seen for shape in observed.shapes]
        if not shapes or len({len(shape) for shape in shapes}) > 1:
            return None
        return tuple(
            sizes[0] if self.finding.varied and len(set(sizes)) == 1 else -1
            for sizes in zip(*shapes, strict=True)
        )

    def _check(self, stated: _Shape, observed: _Shape | None) -> None:
        if observed is None or "reshape" in self.stated:
            return
        # One axis less is what the backend's parameter split_along_outer_axis makes of the pipeline's output.
        if any(agree(stated, candidate) for candidate in (observed, observed[1:])):
            return
        raise _contradiction(
            f"{self.field}.dims",
            f"{list(stated)} is stated, the pipeline returns {list(observed)}: write that, or change it",
        )

    def _unknown(self, fact: str, declaration: str) -> FaultError:
        why = f" ({self.finding.why_not})" if self.finding.why_not else ""
        return FaultError(
            Fault(
                code=Reason.INVALID_PIPELINE,
                field=self.field,
                message=f"{fact} of {self.name} cannot be found without a GPU{why}: state it here, or give "
                f"{declaration} to @pipeline_def",
            )
        )


def agree(stated: _Shape, observed: _Shape) -> bool:
    """Whether two shapes can be the same; -1 is any size."""
    return len(stated) == len(observed) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(stated, observed, strict=True)
    )
