"""Which field of the spec names a Secret that a pod lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ensemble_operator.plan.trouble import Trouble
from ensembles_api.reasons import Reason
from ensembles_api.sources import iter_sources
from ensembles_api.spec import InferenceEnsembleSpec

_NAMED = re.compile(r"secret \"(?P<absent>[^\"]+)\"|Secret [^/\s]+/(?P<incomplete>[^\s;]+)")
"""As the kubelet writes it: `secret "x" not found`, `couldn't find key K in Secret namespace/x`."""


def located(spec: InferenceEnsembleSpec | None, trouble: Trouble | None) -> Trouble | None:
    """The trouble, with the field where it is a Secret that the spec names."""
    if spec is None or trouble is None or trouble.reason is not Reason.SECRET_MISSING or trouble.field:
        return trouble
    found = _NAMED.search(trouble.message)
    name = (found["absent"] or found["incomplete"]) if found else ""
    field = next((field for field, secret in _secrets(spec) if secret == name), "")
    return replace(trouble, field=field)


def _secrets(spec: InferenceEnsembleSpec) -> Iterator[tuple[str, str | None]]:
    yield "spec.storage.secretName", spec.storage.secret_name
    if spec.repository:
        yield "spec.repository.secretName", spec.repository.secret_name
    for field, source in iter_sources(spec):
        yield f"{field}.secretName", source.secret_name
