"""Bad input, all of it at once on the real cluster: Stalled with field and cure, nothing half-published."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import live
from tests.e2e.models import affine_onnx
from tests.e2e.test_exports import IMAGE as EXPORTER

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

RAISES = """
from nvidia.dali import fn, pipeline_def

@pipeline_def
def broken():
    images = fn.external_source(name="IMAGE")
    raise RuntimeError("the author forgot something")
"""
NO_INPUT = """
from nvidia.dali import fn, pipeline_def

@pipeline_def
def reader():
    data, label = fn.readers.file(file_root="/data")
    return data
"""


@dataclass(frozen=True)
class Case:
    """models: in terms of {net}, {text} and {gone}, the uris of good, non-ONNX and missing files."""

    models: list[dict[str, Any]]
    reason: str
    field: str
    says: str
    spec: dict[str, Any] = dataclasses.field(default_factory=dict)
    storage: dict[str, Any] = dataclasses.field(default_factory=dict)
    grace: bool = False
    """Whether it is first waited for: what GitOps may bring a moment later."""


def _net(name: str = "net", **more: Any) -> dict[str, Any]:
    return {"name": name, "onnxruntime": {"source": {"uri": "{net}"}}, **more}


def _steps(**second: Any) -> list[dict[str, Any]]:
    def step(source: str, sink: str) -> dict[str, Any]:
        tensors = {"inputs": [{"name": "X", "from": source}], "outputs": [{"name": "Y", "to": sink}]}
        return {"model": "net", **tensors}

    return [step("IN", "MIDDLE"), {**step("MIDDLE", "OUT"), **second}]


def _export(script: str, **more: Any) -> list[dict[str, Any]]:
    resources = {"requests": {"cpu": "20m", "memory": "64Mi"}}
    export = {"image": EXPORTER, "command": ["python", "-c", script], "resources": resources, **more}
    return [{"name": "net", "onnxruntime": {"export": export}}]


CASES: dict[str, Case] = {
    "missing-source": Case(
        [{"name": "net", "onnxruntime": {"source": {"uri": "{gone}"}}}],
        "SourceMissing",
        "spec.models[0].onnxruntime.source",
        "gone.onnx",
        grace=True,
    ),
    "wrong-digest": Case(
        [{"name": "net", "onnxruntime": {"source": {"uri": "{net}", "sha256": "0" * 64}}}],
        "DigestMismatch",
        "spec.models[0].onnxruntime.source",
        "sha256",
    ),
    "not-onnx": Case(
        [{"name": "net", "onnxruntime": {"source": {"uri": "{text}"}}}],
        "InvalidModel",
        "spec.models[0].onnxruntime.source",
        "ONNX",
    ),
    "pipeline-raises": Case(
        [{"name": "pre", "dali": {"source": {"inline": RAISES}}}],
        "InvalidPipeline",
        "spec.models[0].dali.source",
        "the author forgot something",
    ),
    "pipeline-without-input": Case(
        [{"name": "pre", "dali": {"source": {"inline": NO_INPUT}}}],
        "InvalidPipeline",
        "spec.models[0].dali",
        "external_source",
    ),
    "export-fails": Case(
        _export("raise SystemExit('the weights do not fit')"),
        "ExportFailed",
        "spec.models[0].onnxruntime.export",
        "exit code 1: the weights do not fit",
    ),
    "export-of-nothing": Case(
        _export("open('/outputs/model.pt', 'w')"),
        "ExportFailed",
        "spec.models[0].onnxruntime.export",
        "/outputs holds model.pt",
    ),
    "export-without-program": Case(
        _export("", command=["/no/such/program"]),
        "ExportFailed",
        "spec.models[0].onnxruntime.export",
        "/no/such/program",
    ),
    "no-such-tensor": Case(
        [_net(), {"name": "all", "ensemble": {"steps": _steps(inputs=[{"name": "Z", "from": "MIDDLE"}])}}],
        "InvalidWiring",
        "spec.models[1].ensemble.steps[1].inputs[0]",
        "Z",
    ),
    "shapes-differ": Case(
        [
            _net(),
            {"name": "wide", "onnxruntime": {"source": {"uri": "{wide}"}}},
            {"name": "all", "ensemble": {"steps": _steps(model="wide")}},
        ],
        "InvalidWiring",
        "spec.models[2].ensemble.steps[1]",
        "FP32[7]",
    ),
    "types-differ": Case(
        [
            _net(),
            {"name": "whole", "onnxruntime": {"source": {"uri": "{whole}"}}},
            {"name": "all", "ensemble": {"steps": _steps(model="whole")}},
        ],
        "InvalidWiring",
        "spec.models[2].ensemble.steps[1]",
        "INT32",
    ),
    "unknown-config-field": Case(
        [_net(config={"dynamic_batchin": {}})], "InvalidConfig", "spec.models[0].config", "dynamic_batching"
    ),
    "batch-too-large": Case(
        [
            _net(maxBatchSize=2),
            {"name": "all", "ensemble": {"steps": _steps()}, "maxBatchSize": 8},
        ],
        "InvalidWiring",
        "spec.models[1].maxBatchSize",
        "8",
    ),
    "missing-secret": Case(
        [_net()],
        "SecretMissing",
        "spec.storage.secretName",
        "no-such-secret",
        storage={"secretName": "no-such-secret"},
        grace=True,
    ),
    "wrong-key": Case([_net()], "AccessDenied", "", "", storage={"secretName": "wrong-keys"}, grace=True),
    "missing-bucket": Case(
        [_net()], "BucketMissing", "", "no-such-bucket", storage={"uri": "s3://no-such-bucket/x"}, grace=True
    ),
    "unknown-release": Case(
        [_net()], "UnknownRelease", "spec.runtime.release", "1.2", spec={"runtime": {"release": "1.2"}}
    ),
    "missing-config-map": Case(
        [{"name": "pre", "dali": {"source": {"configMap": {"name": "pipes", "key": "a.py"}}}}],
        "ConfigMapMissing",
        "spec.models[0].dali.source.configMap",
        "pipes",
        grace=True,
    ),
}


def _fill(value: Any, uris: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, uris) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, uris) for item in value]
    return uris.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def applied(make_namespace: live.NamespaceFactory) -> Iterator[live.Namespace]:
    """Every wrong ensemble, applied at once."""
    with make_namespace("bad-input") as space:
        uris = {
            "{net}": space.put("net.onnx", affine_onnx()),
            "{wide}": space.put("wide.onnx", affine_onnx(width=7)),
            "{whole}": space.put("whole.onnx", affine_onnx(kind="int32")),
            "{text}": space.put("text.onnx", "<html>not found</html>"),
            "{gone}": f"s3://{live.BUCKET}/{space.name}/gone.onnx",
        }
        space.kubectl(
            *("create", "secret", "generic", "wrong-keys"),
            *("--from-literal=AWS_ACCESS_KEY_ID=test", "--from-literal=AWS_SECRET_ACCESS_KEY=wrong"),
        )
        for name, case in CASES.items():
            space.apply(name, _fill(case.models, uris), storage=dict(case.storage), **case.spec)
        yield space


@pytest.mark.parametrize("name", sorted(CASES, key=lambda case: CASES[str(case)].grace))
def test_bad_input_stalls_with_field_and_cure(applied: live.Namespace, name: str) -> None:
    case = CASES[name]
    ensemble = live.Ensemble(applied, name)
    stalled = ensemble.wait("Stalled", case.reason, seconds=300)
    assert case.field in stalled["message"]
    assert case.says in stalled["message"]
    assert ensemble.condition("Reconciling") == {}
    assert ensemble.condition("Ready")["status"] == "False"
    assert applied.objects(f"store/ensembles/{applied.name}/{name}/") == []
    assert not [d for d in applied.items("deployments") if d["metadata"]["name"].startswith(name)]


def test_duplicate_names_are_refused_at_once(applied: live.Namespace) -> None:
    with pytest.raises(AssertionError, match="two models have the same name"):
        applied.apply("twice", [_net(), _net()])


def test_what_comes_later_heals(applied: live.Namespace) -> None:
    ensemble = live.Ensemble(applied, "missing-source")
    ensemble.wait("Stalled", "SourceMissing", seconds=300)
    applied.put("gone.onnx", affine_onnx())
    applied.kubectl("annotate", "ie", "missing-source", "ensembles.dev/requestedAt=now")
    ensemble.wait()
