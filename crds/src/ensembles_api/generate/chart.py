"""The chart's copy of the CRD: installed and upgraded with the release, kept when the release goes."""

from __future__ import annotations

from ensembles_api.generate import crd


def crd_template() -> str:
    document = crd.definition()
    document["metadata"] = {
        "name": crd.NAME,
        # Deleting the CRD deletes every InferenceEnsemble in the cluster.
        "annotations": {"helm.sh/resource-policy": "keep"},
    }
    body = crd.to_yaml(document)
    if "{{" in body:
        raise ValueError("a description or rule holds '{{', which Helm would take for a template")
    return f"{{{{- if .Values.crd.install }}}}\n{crd.HEADER}{body}{{{{- end }}}}\n"
