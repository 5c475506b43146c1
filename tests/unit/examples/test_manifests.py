"""Every example's YAML fits the typed API, and names only files that its prepare.py makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ensembles_api.spec import InferenceEnsembleSpec

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
MANIFESTS = sorted(EXAMPLES.glob("*/ensemble*.yaml"))
NAMES = {
    *("efficientnet", "python-pre-post", "bls", "ocr", "video", "hand-written-repository"),
    *("dali-resnet50", "dali-from-training", "from-config-pbtxt", "python-resnet50"),
}


def test_every_example_is_there() -> None:
    assert {manifest.parent.name for manifest in MANIFESTS} == NAMES


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_manifest_fits_the_api(manifest: Path) -> None:
    document = yaml.safe_load(manifest.read_text())
    assert document["apiVersion"] == "ensembles.dev/v1alpha1"
    assert document["metadata"] == {"name": manifest.parent.name, "namespace": "demo"}
    spec = InferenceEnsembleSpec.model_validate(document["spec"])
    assert spec.storage.uri == "s3://models/store"
    names = [model.name for model in spec.models]
    assert len(set(names)) == len(names)
    for model in spec.models:
        if model.ensemble:
            steps = model.ensemble.chain or [step.model for step in model.ensemble.steps or []]
            assert set(steps) < set(names)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_sources_are_prepared(manifest: Path, prepared: Callable[[str], Path]) -> None:
    folder = prepared(manifest.parent.name)
    base = f"s3://models/examples/{manifest.parent.name}/"
    uris = list(_sources(yaml.safe_load(manifest.read_text())["spec"]))
    assert uris
    for uri in uris:
        assert uri.startswith(base)
        path = folder / uri.removeprefix(base)
        assert path.is_dir() if uri.endswith("/") else path.is_file(), f"{uri} is not prepared"


def _sources(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "uri" and value != "s3://models/store":
                yield value
            else:
                yield from _sources(value)
    elif isinstance(node, list):
        for item in node:
            yield from _sources(item)
