"""Requests that a revision must answer before it serves.

Samples come from builds. Where there are none, `verify` sends zeros; whether a model takes zeros is certain
only where its shapes are fixed and its code is not the user's, so that other cases are marked as guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from ensemble_builder.artifacts.layout import CASES, VERIFICATION
from ensembles_api.contract import ArtifactRecord, Lock, LockedFile, SampleTensor
from ensembles_api.verification import VerificationCase, VerificationPlan

MOST_CASES = 4
"""Cases per model."""
STRING = DataType.Value("TYPE_STRING")
CERTAIN_BACKENDS = frozenset({"onnxruntime", "tensorrt"})


@dataclass(frozen=True)
class SampleSet:
    """Requests known to fit one model, and whether the user gave them."""

    requests: tuple[tuple[SampleTensor, ...], ...]
    given: bool


@dataclass(frozen=True)
class Verification:
    plan: VerificationPlan = field(default_factory=lambda: VerificationPlan(cases=()))
    files: Mapping[str, LockedFile | bytes] = field(default_factory=dict)
    """Path below the target's folder -> a file of the cases."""

    def target_files(self) -> dict[str, LockedFile | bytes]:
        return {**self.files, CASES: self.plan.canonical()}


def verification(
    lock: Lock,
    records: Mapping[str, ArtifactRecord],
    configs: Mapping[str, ModelConfig],
    given: Sequence[VerificationCase] = (),
    given_files: Mapping[str, LockedFile | bytes] | None = None,
) -> Verification:
    """The cases of one target: the smoke test's, then the user's.

    Args:
        lock: what was ordered.
        records: artifact key -> record, of this target's orders.
        configs: model name -> config, for every model whose config is known.
        given: the user's cases.
        given_files: of them, by path below the target's folder.
    """
    smoke = _smoke_test(lock, records, configs) if lock.request.verification.smoke_test else Verification()
    return Verification(
        VerificationPlan(cases=(*smoke.plan.cases, *given)), {**smoke.files, **(given_files or {})}
    )


def _smoke_test(
    lock: Lock, records: Mapping[str, ArtifactRecord], configs: Mapping[str, ModelConfig]
) -> Verification:
    files: dict[str, LockedFile] = {}
    samples: dict[str, SampleSet] = {}
    for order in lock.builds:
        record = records.get(order.key)
        if record and record.samples:
            samples[order.model] = SampleSet(_stored(record, files), bool(order.parameters.get("samples")))
    names = dict.fromkeys([*(model.name for model in lock.request.models), *configs])
    cases = [case for name in names for case in _cases(name, configs, samples)]
    plan = VerificationPlan(cases=tuple(cases))
    used = {tensor.file for case in cases for tensor in case.inputs}
    return Verification(
        plan, {path: file for path, file in files.items() if path.removeprefix(f"{VERIFICATION}/") in used}
    )


def _stored(record: ArtifactRecord, files: dict[str, LockedFile]) -> tuple[tuple[SampleTensor, ...], ...]:
    """The record's samples with files named by digest; adds the files to `files`."""
    digests = {file.path: file for file in record.sample_files}

    def stored(tensor: SampleTensor) -> SampleTensor:
        file = digests[tensor.file]
        path = f"samples/{file.sha256}"
        files[f"{VERIFICATION}/{path}"] = file
        return tensor.model_copy(update={"file": path})

    return tuple(
        tuple(stored(tensor) for tensor in request.inputs) for request in record.samples[:MOST_CASES]
    )


def _cases(
    name: str, configs: Mapping[str, ModelConfig], samples: Mapping[str, SampleSet]
) -> Sequence[VerificationCase]:
    if own := samples.get(name):
        return [VerificationCase(model=name, inputs=inputs) for inputs in own.requests]
    config = configs.get(name)
    if config is None:
        return [VerificationCase(model=name, guessed=True)]
    if not config.HasField("ensemble_scheduling"):
        return [VerificationCase(model=name, guessed=not _is_certain(config))]
    found = _ensemble_samples(config, configs, samples)
    certain = _leaves_are_certain(config, configs, samples)
    if not found.requests:
        return [VerificationCase(model=name, guessed=not (certain and _is_fixed(config)))]
    wanted = {tensor.name for tensor in config.input}
    return [
        VerificationCase(
            model=name,
            inputs=inputs,
            guessed=not (wanted <= {tensor.name for tensor in inputs} and (certain or found.given)),
        )
        for inputs in found.requests
    ]


def _ensemble_samples(
    config: ModelConfig, configs: Mapping[str, ModelConfig], samples: Mapping[str, SampleSet], depth: int = 0
) -> SampleSet:
    """Samples of the steps that read an ensemble's own inputs, under the ensemble's names."""
    wanted = {tensor.name for tensor in config.input}
    found: list[dict[str, SampleTensor]] = []
    given = True
    for step in config.ensemble_scheduling.step:
        inner = samples.get(step.model_name)
        child = configs.get(step.model_name)
        if (
            inner is None
            and child is not None
            and child.HasField("ensemble_scheduling")
            and depth < len(configs)
        ):
            inner = _ensemble_samples(child, configs, samples, depth + 1)
        if inner is None:
            continue
        for index, request in enumerate(inner.requests):
            renamed = {
                (to := step.input_map[tensor.name]): tensor.model_copy(update={"name": to})
                for tensor in request
                if step.input_map.get(tensor.name) in wanted
            }
            if not renamed:
                continue
            given = given and inner.given
            if index == len(found):
                found.append({})
            if index < len(found):
                found[index].update(renamed)
    return SampleSet(tuple(tuple(request.values()) for request in found), given)


def _leaves_are_certain(
    config: ModelConfig, configs: Mapping[str, ModelConfig], samples: Mapping[str, SampleSet], depth: int = 0
) -> bool:
    """Whether no step runs code of the user that may refuse inputs it was not made for."""
    for step in config.ensemble_scheduling.step:
        child = configs.get(step.model_name)
        if child is None or depth > len(configs):
            return False
        if child.HasField("ensemble_scheduling"):
            if not _leaves_are_certain(child, configs, samples, depth + 1):
                return False
        elif child.backend not in CERTAIN_BACKENDS and step.model_name not in samples:
            return False
    return True


def _is_certain(config: ModelConfig) -> bool:
    backend = config.backend or config.platform.removesuffix("_onnx").removesuffix("_plan")
    return backend in CERTAIN_BACKENDS and _is_fixed(config)


def _is_fixed(config: ModelConfig) -> bool:
    """Every input has numbers of a known shape (the values of a shape tensor are shapes: zeros do not do)."""
    return all(
        tensor.data_type != STRING and not tensor.is_shape_tensor and all(dim > 0 for dim in tensor.dims)
        for tensor in config.input
    )
