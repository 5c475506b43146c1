"""status.models: how far each model of the spec is."""

from __future__ import annotations

from collections.abc import Sequence

from ensemble_operator.plan.chain import BuildOutcome, BuildState
from ensemble_operator.plan.observation import Observation
from ensembles_api.reasons import Nature
from ensembles_api.spec import KINDS, Model
from ensembles_api.status import ModelState, ModelStatus

_WORST: tuple[ModelState, ...] = ("Failed", "Waiting", "Building", "Pending", "Built", "Cached")
"""Of a model with several artifacts (versions, targets) the first of these that one of them is in."""


def model_states(observation: Observation, building: BuildOutcome | None) -> list[ModelStatus]:
    """Where lane A knows nothing now, what the last status said."""
    before = [ModelStatus.model_validate(known) for known in observation.status.get("models", [])]
    if observation.spec is None:
        return before
    known = {model.name: model for model in before}
    models = observation.spec.models
    if building is None:
        return [known.get(model.name) or _plain(model, "Pending") for model in models]
    return [_model(model, building, known.get(model.name)) for model in models]


def _model(model: Model, building: BuildOutcome, before: ModelStatus | None) -> ModelStatus:
    builds = [build for build in building.builds if build.model == model.name]
    if builds:
        return _of_builds(model, builds, before)
    if building.wanted is not None:
        return _plain(model, "Built")
    if model.name in building.building:
        failed = building.trouble is not None and building.trouble.nature is Nature.USER
        return _plain(model, "Failed" if failed else "Building")
    return _plain(model, "Pending")


def _of_builds(model: Model, builds: Sequence[BuildState], before: ModelStatus | None) -> ModelStatus:
    state = min((build.state for build in builds), key=_WORST.index)
    key = max(builds, key=lambda build: build.seconds or 0).key
    seconds = sum(build.seconds or 0 for build in builds)
    if not seconds and before is not None and before.key == key and state in {"Built", "Cached"}:
        seconds = before.seconds or 0  # the record does not say it, and the Job that did is gone
    since = min((build.since for build in builds if build.since and build.state == state), default=None)
    return ModelStatus(
        name=model.name,
        kind=_kind(model),
        state=state,
        key=key,
        seconds=round(seconds) if seconds else None,
        since=since.strftime("%Y-%m-%dT%H:%M:%SZ") if since else None,
    )


def _plain(model: Model, state: ModelState) -> ModelStatus:
    return ModelStatus(name=model.name, kind=_kind(model), state=state)


def _kind(model: Model) -> str:
    return next((k for k in KINDS if getattr(model, k) is not None), "versions")
