"""Which ensembles an object concerns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ensemble_operator.cluster.kinds import JOB
from ensemble_operator.observe.cache import ObjectCache
from ensembles_api.names import KIND, LABEL_ENSEMBLE

Object = Mapping[str, Any]


class Key(NamedTuple):
    """An InferenceEnsemble, existing or not."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def keys_of(manifest: Object, cache: ObjectCache) -> frozenset[Key]:
    """The ensembles to look at when an object has changed.

    A build Job is shared: it concerns all its owners, and so do its pods.
    """
    metadata = manifest["metadata"]
    namespace = metadata["namespace"]
    if manifest["kind"] == KIND:
        return frozenset({Key(namespace, metadata["name"])})
    if ensemble := (metadata.get("labels") or {}).get(LABEL_ENSEMBLE):
        return frozenset({Key(namespace, ensemble)})
    owners = metadata.get("ownerReferences") or ()
    direct = frozenset(Key(namespace, owner["name"]) for owner in owners if owner["kind"] == KIND)
    jobs = (cache.get(JOB, namespace, owner["name"]) for owner in owners if owner["kind"] == JOB.name)
    return direct.union(*(keys_of(job, cache) for job in jobs if job is not None))
