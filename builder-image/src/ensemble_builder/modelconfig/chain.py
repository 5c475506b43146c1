"""`ensemble.chain`: models in order, joined by their tensors' names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.errors import invalid_wiring, listed
from ensemble_builder.modelconfig.graph import Link, Signature, StepLinks, Wiring
from ensemble_builder.modelconfig.tensors import written
from ensemble_builder.modelconfig.wiring import find_model

CHOOSE = "CHOOSE"
"""Stands in the suggested steps where only the user knows the tensor."""


def wiring_of_chain(
    ensemble: str, field: str, chain: Sequence[str], signatures: Mapping[str, Signature], *, partial: bool
) -> Wiring | None:
    """The graph of a chain.

    An input takes the output of the same name of the nearest model before it; then, if one required input
    and one unused output of the model directly before are left, these two are joined. The ensemble's inputs
    and outputs are those of the first and the last model, under their own names; tensors between are named
    `<model>/<output>` (`<model>:<position>/<output>` from a model's second place on).

    Returns:
        None while the tensors of a member are unknown and `partial` allows that.

    Raises:
        FaultError: InvalidWiring with `steps` to paste, where names do not decide.
    """
    called = [
        find_model(_bare(field, number, name), signatures, Wiring(ensemble, field, ()))
        for number, name in enumerate(chain)
    ]
    for number, signature in enumerate(called):
        if signature.inputs_known and signature.outputs_known:
            continue
        if partial:
            return None
        raise invalid_wiring(
            f"{field}.ensemble.chain[{number}]",
            f"the tensors of {signature.name} are left to the server, so that names cannot join a chain: "
            "write steps, or state the model's input and output in its config",
        )
    return _Chain(ensemble, field, called).wiring()


def _bare(field: str, number: int, model: str) -> StepLinks:
    return StepLinks(number, model, -1, (), (), f"{field}.ensemble.chain[{number}]")


class _Chain:
    """The joins made so far: per model, input name -> (number of the model that feeds it, its output)."""

    def __init__(self, ensemble: str, field: str, called: Sequence[Signature]) -> None:
        self.ensemble = ensemble
        self.field = field
        self.called = called
        self.joins: list[dict[str, tuple[int, str]]] = [{} for _ in called]

    def wiring(self) -> Wiring:
        for number in range(1, len(self.called)):
            self._join_equal_names(number)
            self._join_leftover(number)
        for number in range(1, len(self.called)):
            if self._unfed(number) or not any(
                source == number - 1 for source, _ in self.joins[number].values()
            ):
                raise self._undecided(number)
        self._refuse_colliding_ends()
        return Wiring(
            self.ensemble, self.field, tuple(self._step(number) for number in range(len(self.called)))
        )

    def _join_equal_names(self, number: int) -> None:
        for tensor in self.called[number].config.input:
            for source in range(number - 1, -1, -1):
                if any(output.name == tensor.name for output in self.called[source].config.output):
                    self.joins[number][tensor.name] = (source, tensor.name)
                    break

    def _join_leftover(self, number: int) -> None:
        unfed, unused = self._unfed(number), self._unused(number - 1, before=number + 1)
        if len(unfed) == 1 and len(unused) == 1:
            self.joins[number][unfed[0].name] = (number - 1, unused[0].name)

    def _unfed(self, number: int) -> list[Any]:
        return [
            tensor
            for tensor in self.called[number].config.input
            if tensor.name not in self.joins[number] and not tensor.optional
        ]

    def _unused(self, number: int, *, before: int) -> list[Any]:
        used = {
            output for joins in self.joins[:before] for source, output in joins.values() if source == number
        }
        return [tensor for tensor in self.called[number].config.output if tensor.name not in used]

    def _tensor(self, number: int, output: str) -> str:
        if number == len(self.called) - 1:
            return output
        name = self.called[number].name
        again = any(signature.name == name for signature in self.called[:number])
        return f"{name}:{number}/{output}" if again else f"{name}/{output}"

    def _step(self, number: int) -> StepLinks:
        step = _bare(self.field, number, self.called[number].name)
        config = self.called[number].config
        joins = self.joins[number]
        if number == 0:
            inputs = [Link(tensor.name, tensor.name, step.field) for tensor in config.input]
        else:
            inputs = [
                Link(tensor.name, self._tensor(*joins[tensor.name]), step.field)
                for tensor in config.input
                if tensor.name in joins
            ]
        last = number == len(self.called) - 1
        unused = {tensor.name for tensor in self._unused(number, before=len(self.called))}
        outputs = [
            Link(tensor.name, self._tensor(number, tensor.name), step.field)
            for tensor in config.output
            if last or tensor.name not in unused
        ]
        return StepLinks(number, step.model, -1, tuple(inputs), tuple(outputs), step.field)

    def _refuse_colliding_ends(self) -> None:
        first, last = self.called[0].config, self.called[-1].config
        both = {tensor.name for tensor in first.input} & {tensor.name for tensor in last.output}
        if both:
            raise self._fault(
                len(self.called) - 1,
                f"{listed(sorted(both))} would be both an input and an output of the ensemble",
                renamed=frozenset(both),
            )

    def _undecided(self, number: int) -> FaultError:
        unfed = self._unfed(number)
        unused = self._unused(number - 1, before=len(self.called))
        before, after = self.called[number - 1].name, self.called[number].name
        inputs = listed(f"{tensor.name} {written(tensor.data_type, tensor.dims)}" for tensor in unfed)
        outputs = listed(f"{tensor.name} {written(tensor.data_type, tensor.dims)}" for tensor in unused)
        if unfed:
            told = (
                f"inputs of {after} without an output of that name: {inputs}; unused outputs of {before}: "
                f"{outputs}"
            )
        else:
            told = f"{after} reads nothing of {before}"
        return self._fault(number, f"names do not tell how {before} and {after} are joined ({told})")

    def _fault(self, number: int, problem: str, *, renamed: frozenset[str] = frozenset()) -> FaultError:
        return invalid_wiring(
            f"{self.field}.ensemble.chain[{number}]",
            f"{problem}. Replace chain by steps and correct these:\n{self._suggestion(renamed)}",
        )

    def _suggestion(self, renamed: frozenset[str]) -> str:
        lines = ["steps:"]
        last = len(self.called) - 1
        for number, signature in enumerate(self.called):
            inputs = []
            for tensor in signature.config.input:
                if number == 0:
                    source = tensor.name
                elif tensor.name in self.joins[number]:
                    source = self._tensor(*self.joins[number][tensor.name])
                elif tensor.optional:
                    continue
                else:
                    source = CHOOSE
                inputs.append(f"{{name: {json.dumps(tensor.name)}, from: {json.dumps(source)}}}")
            outputs = []
            for tensor in signature.config.output:
                target = self._tensor(number, tensor.name)
                if number == last and tensor.name in renamed:
                    target = f"{target}_out"
                outputs.append(f"{{name: {json.dumps(tensor.name)}, to: {json.dumps(target)}}}")
            lines.append(f"- model: {json.dumps(signature.name)}")
            lines.append(f"  inputs: [{', '.join(inputs)}]")
            lines.append(f"  outputs: [{', '.join(outputs)}]")
        return "\n".join(lines)
