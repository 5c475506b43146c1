"""Resolves the spec: images, targets, what a revision depends on, and the digest of all that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ensemble_operator.config import OperatorConfig
from ensemble_operator.names import digest
from ensemble_operator.plan.gpus import named_targets
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.trouble import Trouble
from ensembles_api.architectures import stated_architecture
from ensembles_api.contract import CONTRACT, Request, Versions
from ensembles_api.names import ANNOTATION_REQUESTED_AT
from ensembles_api.reasons import Reason
from ensembles_api.sources import iter_sources
from ensembles_api.spec import InferenceEnsembleSpec


@dataclass(frozen=True)
class Images:
    server: str
    builder: str
    versions: Versions


@dataclass(frozen=True)
class Desired:
    """The spec with everything resolved that decides the revision."""

    spec: InferenceEnsembleSpec
    images: Images
    request: Request
    inputs: str
    """Digest of all that decides the revision's bytes, and of the resource's uid."""
    config_maps: Mapping[str, tuple[str, ...]]
    source_secrets: tuple[str, ...]
    requested_at: str


def resolve(observation: Observation, config: OperatorConfig) -> Desired | Trouble:
    """Everything that can be known without a Job; the first thing that is wrong otherwise."""
    spec = observation.spec
    if spec is None:
        error = observation.spec_error
        return Trouble(
            Reason.INVALID_SPEC,
            error.message if error else "the spec cannot be read",
            field=error.field if error else "spec",
        )
    images = _images(spec, config)
    if isinstance(images, Trouble):
        return images
    config_maps = _config_maps(spec)
    missing = _missing_config_map(observation, spec)
    if missing:
        return missing
    targets = named_targets(observation, spec)
    if isinstance(targets, Trouble):
        return targets
    requested_at = observation.annotations.get(ANNOTATION_REQUESTED_AT, "")
    request = Request(
        namespace=observation.namespace,
        name=observation.name,
        models=tuple(spec.models),
        repository=spec.repository,
        entrypoint=spec.entrypoint,
        verification=spec.verification,
        targets=targets,
        server_image=images.server,
        builder_image=images.builder,
        versions=images.versions,
        requested_at=requested_at,
        uid=observation.uid,
        architecture=stated_architecture(spec.build.node_selector),
    )
    return Desired(
        spec=spec,
        images=images,
        request=request,
        inputs=_inputs(observation, spec, request, config_maps),
        config_maps=config_maps,
        source_secrets=_source_secrets(spec),
        requested_at=requested_at,
    )


def _inputs(
    observation: Observation,
    spec: InferenceEnsembleSpec,
    request: Request,
    config_maps: Mapping[str, tuple[str, ...]],
) -> str:
    return digest(
        {
            "contract": CONTRACT,
            "uid": observation.uid,
            "request": request.digest(),
            "storage": spec.storage.model_dump(mode="json", exclude_defaults=True),
            "configMaps": {
                name: {key: (observation.config_maps.get(name) or {}).get(key) for key in keys}
                for name, keys in config_maps.items()
            },
        }
    )


def _source_secrets(spec: InferenceEnsembleSpec) -> tuple[str, ...]:
    secrets = {source.secret_name for _, source in iter_sources(spec) if source.secret_name}
    if spec.repository and spec.repository.secret_name:
        secrets.add(spec.repository.secret_name)
    return tuple(sorted(secrets))


def _images(spec: InferenceEnsembleSpec, config: OperatorConfig) -> Images | Trouble:
    runtime = spec.runtime
    if runtime.server_image and runtime.builder_image:
        return Images(runtime.server_image, runtime.builder_image, Versions())
    name = runtime.release or config.default_release
    release = config.releases.get(name)
    if release is None:
        known = ", ".join(sorted(config.releases)) or "none"
        return Trouble(
            Reason.UNKNOWN_RELEASE,
            f"{name!r} is not in the operator's release table (known: {known}); choose one of these, or set "
            "serverImage and builderImage",
            field="spec.runtime.release",
        )
    return Images(release.server_image, release.builder_image, release.versions)


def _config_maps(spec: InferenceEnsembleSpec) -> dict[str, tuple[str, ...]]:
    keys: dict[str, set[str]] = {}
    for _, source in iter_sources(spec):
        if source.config_map:
            keys.setdefault(source.config_map.name, set()).add(source.config_map.key)
    return {name: tuple(sorted(found)) for name, found in sorted(keys.items())}


def _missing_config_map(observation: Observation, spec: InferenceEnsembleSpec) -> Trouble | None:
    references = [
        (f"{field}.configMap", source.config_map) for field, source in iter_sources(spec) if source.config_map
    ]
    if spec.storage.ca_config_map:
        references.append(("spec.storage.caConfigMap", spec.storage.ca_config_map))
    for field, reference in references:
        seen = observation.config_maps.get(reference.name)
        if seen is None:
            what = f"ConfigMap {reference.name!r} does not exist in {observation.namespace!r}; create it"
        elif reference.key not in seen:
            keys = ", ".join(sorted(seen)) or "none"
            what = f"ConfigMap {reference.name!r} has no key {reference.key!r} (it has: {keys})"
        else:
            continue
        return Trouble(Reason.CONFIG_MAP_MISSING, what, field=field)
    return None
