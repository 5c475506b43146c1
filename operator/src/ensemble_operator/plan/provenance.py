"""Who began a rollout, why, and what it changed: noted on its record as it is created, for the history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ensemble_operator.names import digest
from ensemble_operator.plan.observation import Observation, RolloutSeen
from ensemble_operator.resources.rollout import (
    ANNOTATION_CHANGES,
    ANNOTATION_PARTS,
    ANNOTATION_STARTED_BY,
    RolloutData,
)
from ensembles_api.names import ANNOTATION_CHANGE_CAUSE
from ensembles_api.sources import model_sources
from ensembles_api.spec import Model

PARTS = TypeAdapter(dict[str, str])
OF_THE_REVISION = ("runtime", "repository", "entrypoint", "verification")
"""Fields of the spec, beside models, that a revision is made from."""
LONGEST = 512
"""Characters of a field of the history, as the CRD takes them."""


def provenance(observation: Observation, data: RolloutData, before: RolloutSeen | None) -> Mapping[str, str]:
    """Annotations of a new rollout's record.

    Args:
        observation: with the spec that the rollout comes from.
        data: of the new rollout.
        before: the rollout that serves, which the new one shall replace.
    """
    parts = parts_of(observation)
    notes = {
        ANNOTATION_STARTED_BY: observation.spec_manager,
        ANNOTATION_CHANGE_CAUSE: observation.annotations.get(ANNOTATION_CHANGE_CAUSE, ""),
        ANNOTATION_CHANGES: "; ".join(_changes(before, data, parts)),
        ANNOTATION_PARTS: json.dumps(parts, sort_keys=True),
    }
    return {
        name: text if name == ANNOTATION_PARTS else text[:LONGEST] for name, text in notes.items() if text
    }


def serves_again(observation: Observation) -> str:
    """What the history says of a rollout to which clients came back."""
    cause = observation.annotations.get(ANNOTATION_CHANGE_CAUSE, "")
    by = f", by {observation.spec_manager}" if observation.spec_manager else ""
    return f"serves again since {observation.now:%Y-%m-%dT%H:%M:%SZ}{by}{f': {cause}' if cause else ''}"[
        :LONGEST
    ]


def parts_of(observation: Observation) -> dict[str, str]:
    """Short digests of what the spec makes a revision of: "models/NAME" for each model, and other fields."""
    spec = observation.spec
    if spec is None:
        return {}
    document = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    others = {name: digest(document[name])[:8] for name in OF_THE_REVISION if name in document}
    return {f"models/{model.name}": _digest(observation, model) for model in spec.models} | others


def _digest(observation: Observation, model: Model) -> str:
    """Of a model's part of the spec, with what the ConfigMaps hold that it names."""
    named = {source.config_map for _, source in model_sources([model]) if source.config_map}
    contents = sorted(
        (each.name, each.key, (observation.config_maps.get(each.name) or {}).get(each.key)) for each in named
    )
    return digest([model.model_dump(mode="json", exclude_defaults=True), contents])[:8]


def _changes(before: RolloutSeen | None, data: RolloutData, parts: Mapping[str, str]) -> Iterator[str]:
    if before is None:
        yield "first rollout"
        return
    found = [*_of_parts(_parts(before), parts), *_of_servers(before.data, data)]
    yield from found
    if not found and before.data.revision != data.revision:
        yield "other bytes of the same sources"
    elif not found:
        yield "a newer operator's servers"


def _parts(rollout: RolloutSeen) -> dict[str, str] | None:
    """Those that were noted; None by an earlier operator, which noted none."""
    try:
        return PARTS.validate_json(rollout.annotations.get(ANNOTATION_PARTS, ""))
    except ValidationError:
        return None


def _of_parts(before: Mapping[str, str] | None, after: Mapping[str, str]) -> Iterator[str]:
    if before is None:
        return
    for verb, names in (
        ("changed", [name for name in after if name in before and after[name] != before[name]]),
        ("added", [name for name in after if name not in before]),
        ("removed", [name for name in before if name not in after]),
    ):
        if names:
            yield f"{verb} {', '.join(name.removeprefix('models/') for name in names)}"


def _of_servers(before: RolloutData, after: RolloutData) -> Iterator[str]:
    if before.server_image != after.server_image:
        yield f"server image {after.server_image}"
    if before.storage != after.storage:
        yield "storage"
    if before.targets != after.targets:
        yield "targets"
    old, new = (_settings(data) for data in (before, after))
    yield from (f"serving.{name}" for name in sorted({*old, *new}) if old.get(name) != new.get(name))


def _settings(data: RolloutData) -> dict[str, Any]:
    """Settings of the servers; their number is no reason for a rollout, targets are told beside."""
    return data.serving.model_dump(mode="json", by_alias=True, exclude={"replicas", "targets"})
