"""An ensemble as a graph: steps, the tensors between them, and where each of them stands in the resource."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.tensors import ANY, Dims, compatible, written
from ensembles_api.spec import Step


@dataclass(frozen=True)
class Signature:
    """What an ensemble may know of a model it calls."""

    name: str
    config: ModelConfig
    inputs_known: bool = True
    outputs_known: bool = True
    batch_known: bool = True
    versions: frozenset[int] | None = None
    """Versions that will be served; None: not known."""
    decoupled: bool = False

    @property
    def batching(self) -> bool | None:
        """None: not known yet."""
        return self.config.max_batch_size > 0 if self.batch_known or self.config.max_batch_size else None

    @property
    def needs_all_outputs(self) -> bool:
        """The DALI backend fails requests for fewer outputs than the pipeline has, and an ensemble asks only
        for mapped ones (dali_backend dali_model_instance.cc).
        """
        return bool(self.config.backend == "dali")


@dataclass(frozen=True)
class Link:
    """One tensor of a step's model and the ensemble tensor it is mapped to."""

    name: str
    tensor: str
    field: str


@dataclass(frozen=True)
class StepLinks:
    number: int
    model: str
    version: int
    inputs: tuple[Link, ...]
    outputs: tuple[Link, ...]
    field: str

    @property
    def label(self) -> str:
        return f"steps[{self.number}] ({self.model})"


@dataclass(frozen=True)
class Wiring:
    ensemble: str
    field: str
    steps: tuple[StepLinks, ...]

    def with_output(self, number: int, link: Link) -> Wiring:
        """A copy in which step `number` has one more output."""
        return replace(
            self,
            steps=tuple(
                replace(step, outputs=(*step.outputs, link)) if step.number == number else step
                for step in self.steps
            ),
        )

    @property
    def tensors(self) -> frozenset[str]:
        return frozenset(link.tensor for step in self.steps for link in (*step.inputs, *step.outputs))


@dataclass(frozen=True)
class Endpoint:
    """A model's tensor at one end of an ensemble tensor."""

    step: StepLinks
    link: Link
    data_type: int
    """0: not known."""
    dims: Dims
    """Empty: not known."""
    batching: bool | None
    optional: bool = False

    @property
    def full_dims(self) -> Dims:
        """With the batch axis, as the server compares shapes of batching and other models."""
        return (ANY, *self.dims) if self.batching and self.dims else self.dims

    def fits(self, other: Endpoint) -> bool:
        """Type and shape agree (core ensemble_utils.cc ValidateTensorConsistency); unknown fits all."""
        if self.data_type and other.data_type and self.data_type != other.data_type:
            return False
        if not self.dims or not other.dims or compatible(self.dims, other.dims):
            return True
        if self.batching is None or other.batching is None:
            return True
        return compatible(self.full_dims, other.full_dims)

    def written(self, *, full: bool) -> str:
        return written(self.data_type, self.full_dims if full else self.dims)


def wiring_of_steps(ensemble: str, field: str, steps: list[Step]) -> Wiring:
    """The graph of `ensemble.steps`."""
    links = []
    for index, step in enumerate(steps):
        where = f"{field}.ensemble.steps[{index}]"
        links.append(
            StepLinks(
                number=index,
                model=step.model,
                version=step.version,
                inputs=tuple(
                    Link(item.name, item.from_, f"{where}.inputs[{i}]") for i, item in enumerate(step.inputs)
                ),
                outputs=tuple(
                    Link(item.name, item.to, f"{where}.outputs[{i}]") for i, item in enumerate(step.outputs)
                ),
                field=where,
            )
        )
    return Wiring(ensemble, field, tuple(links))


def wiring_of_config(config: ModelConfig) -> Wiring:
    """The graph of a hand-written ensemble; map entries have no order of their own, so by name.

    Fields are places in its config.pbtxt.
    """
    links = []
    for index, step in enumerate(config.ensemble_scheduling.step):
        where = f"ensemble_scheduling.step[{index}]"
        links.append(
            StepLinks(
                number=index,
                model=step.model_name,
                version=step.model_version,
                inputs=tuple(
                    Link(name, step.input_map[name], f"{where}.input_map.{name}")
                    for name in sorted(step.input_map)
                ),
                outputs=tuple(
                    Link(name, step.output_map[name], f"{where}.output_map.{name}")
                    for name in sorted(step.output_map)
                ),
                field=where,
            )
        )
    return Wiring(config.name, "", tuple(links))
