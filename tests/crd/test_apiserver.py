"""The CRD on a real API server: what it accepts, refuses, defaults and keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.apiserver


def ensemble(name: str, **spec: Any) -> dict[str, Any]:
    model = {"name": "net", "onnxruntime": {"source": {"uri": "s3://m/net.onnx"}}}
    return {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": name},
        "spec": {"storage": {"uri": "s3://m/store", "secretName": "keys"}, "models": [model], **spec},
    }


@pytest.fixture
def created(api: Any) -> Iterator[dict[str, Any]]:
    answer = api.create(ensemble("created"))
    assert answer.code == 201, answer.message
    yield answer.body
    api.delete("created")


def test_accepts(api: Any, accepted: dict[str, Any]) -> None:
    answer = api.create(accepted, dry_run=True)
    assert answer.code == 201, answer.message


def test_rejects_naming_field_and_cure(api: Any, rejected: Any) -> None:
    answer = api.create(rejected.document, dry_run=True)
    assert answer.code in {400, 422}, answer.body
    assert rejected.server_message in answer.message
    if answer.code == 400:  # strict decoding knows no causes
        assert f'"{rejected.field}' in answer.message
    elif not rejected.field.startswith("metadata"):  # rules on metadata stand on the root
        assert rejected.field in {field for field, _ in answer.causes}


def test_keeps_to_the_letter_what_was_said(api: Any, accepted: dict[str, Any]) -> None:
    """Lists and configs without defaults, nothing pruned: GitOps tools compare without asking the server."""
    stored = api.create(accepted, dry_run=True).body["spec"]
    assert merged(stored, accepted["spec"]) == stored


def merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch applied (RFC 7396): lists are replaced as a whole."""
    if not isinstance(patch, dict) or not isinstance(before, dict):
        return patch
    kept = {key: value for key, value in before.items() if patch.get(key, ...) is not None}
    return kept | {key: merged(before.get(key), value) for key, value in patch.items() if value is not None}


def test_applied_twice_is_a_no_op(api: Any, accepted: dict[str, Any]) -> None:
    first = api.apply(accepted)
    assert first.code == 201, first.message
    # A created object is stored without status; the next write, whoever's it is, stores the default.
    second = api.apply(accepted)
    third = api.apply(accepted)
    assert api.delete(accepted["metadata"]["name"]).code == 200
    assert (second.code, third.code) == (200, 200), second.message
    assert second.body["metadata"]["generation"] == 1
    assert second.body["spec"] == first.body["spec"]
    assert third.body["metadata"]["resourceVersion"] == second.body["metadata"]["resourceVersion"]


@pytest.mark.parametrize("before", [{"dynamic_batching": {"preserve_ordering": True}}, {}, None])
def test_an_emptied_message_of_config_survives_apply(api: Any, before: dict[str, Any] | None) -> None:
    document = ensemble("emptied")
    if before is not None:
        document["spec"]["models"][0]["config"] = before
    assert api.apply(document).code == 201
    document["spec"]["models"][0]["config"] = {"dynamic_batching": {}}
    answer = api.apply(document)
    api.delete("emptied")
    assert answer.body["spec"]["models"][0]["config"] == {"dynamic_batching": {}}


def test_an_emptied_gpu_survives_apply(api: Any) -> None:
    document = ensemble("gpu", serving={"targets": [{"name": "a", "gpu": {"product": "NVIDIA-L4"}}]})
    assert api.apply(document).code == 201
    document["spec"]["serving"]["targets"][0]["gpu"] = {}
    answer = api.apply(document)
    api.delete("gpu")
    assert answer.body["spec"]["serving"]["targets"] == [{"name": "a", "gpu": {}}]


def test_a_member_kind_can_be_exchanged_by_apply(api: Any) -> None:
    document = ensemble("exchanged")
    assert api.apply(document).code == 201
    document["spec"]["models"][0] = {"name": "net", "tensorrt": {"source": {"uri": "s3://m/net.onnx"}}}
    answer = api.apply(document)
    api.delete("exchanged")
    assert answer.body["spec"]["models"] == document["spec"]["models"]


def test_defaults(created: dict[str, Any]) -> None:
    spec = created["spec"]
    assert spec["storage"] == {
        "uri": "s3://m/store",
        "secretName": "keys",
        "endpoint": "",
        "region": "us-east-1",
        "addressingStyle": "Auto",
    }
    assert spec["serving"] == {
        "replicas": 1,
        "resources": {},
        "startupSeconds": 600,
        "drainSeconds": 30,
        "httpProxy": {"enabled": True, "resources": {}},
    }
    assert spec["build"] == {"resources": {}, "timeoutSeconds": 3600, "whenGPUBusy": "Wait"}
    assert spec["rollout"] == {
        "strategy": "BlueGreen",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        "retainSeconds": 60,
        "verifySeconds": 600,
        "watchSeconds": 60,
        "paused": False,
    }
    assert spec["verification"] == {"smokeTest": True}
    assert (spec["suspend"], spec["deletionPolicy"], spec["revisionHistoryLimit"]) == (False, "Retain", 10)


def test_nobody_has_looked_yet(created: dict[str, Any]) -> None:
    assert created["status"] == {"observedGeneration": -1}


def test_generation_counts_specs_alone(api: Any, created: dict[str, Any]) -> None:
    assert created["metadata"]["generation"] == 1
    status = {"status": {"observedGeneration": 1, "stage": "Building"}}
    assert api.merge("created", status, status=True).body["metadata"]["generation"] == 1
    assert api.merge("created", {"spec": {"suspend": True}}).body["metadata"]["generation"] == 2


def test_status_is_a_subresource(api: Any, created: dict[str, Any]) -> None:
    assert created["metadata"]["name"] == "created"
    ignored = api.merge("created", {"status": {"stage": "Ready"}})
    assert ignored.code == 200
    assert "stage" not in ignored.body["status"]
    answer = api.merge("created", {"status": {"stage": "Ready"}, "spec": {"suspend": True}}, status=True)
    assert answer.body["status"]["stage"] == "Ready"
    assert answer.body["spec"]["suspend"] is False


def test_conditions_are_merged_by_type(api: Any, created: dict[str, Any]) -> None:
    assert created["kind"] == "InferenceEnsemble"
    for manager, condition in (("one", "Ready"), ("two", "Stalled")):
        document = {
            "apiVersion": "ensembles.dev/v1alpha1",
            "kind": "InferenceEnsemble",
            "metadata": {"name": "created"},
            "status": {
                "observedGeneration": 1,
                "conditions": [
                    {
                        "type": condition,
                        "status": "True",
                        "observedGeneration": 1,
                        "lastTransitionTime": "2030-01-01T00:00:00Z",
                        "reason": "Ready",
                        "message": "",
                    }
                ],
            },
        }
        assert api.apply(document, manager=manager, status=True).code == 200
    conditions = api.get("created")["status"]["conditions"]
    assert [condition["type"] for condition in conditions] == ["Ready", "Stalled"]


def test_columns(api: Any, created: dict[str, Any]) -> None:
    ready = {
        "type": "Ready",
        "status": "False",
        "observedGeneration": 1,
        "lastTransitionTime": "2030-01-01T00:00:00Z",
        "reason": "InvalidModel",
        "message": "spec.models[0]: no",
    }
    status = {
        "observedGeneration": 1,
        "conditions": [ready],
        "stage": "Building",
        "replicas": "1/2",
        "url": "http://created:8000",
        "revision": "ab" * 32,
    }
    assert api.merge("created", {"status": status}, status=True).code == 200
    table = api.table()
    columns = {column["name"]: column["priority"] for column in table["columnDefinitions"]}
    row = dict(zip(columns, table["rows"][0]["cells"], strict=True))
    assert [name for name, priority in columns.items() if priority == 0] == [
        "Name", "Ready", "Stage", "Replicas", "URL", "Age",
    ]  # fmt: skip
    assert row | {"Age": ""} == {
        "Name": created["metadata"]["name"],
        "Ready": "False",
        "Stage": "Building",
        "Replicas": "1/2",
        "URL": "http://created:8000",
        "Age": "",
        "Revision": "ab" * 32,
        "Message": "spec.models[0]: no",
    }


def test_short_name_and_category(api: Any) -> None:
    resources = api.call("GET", "/apis/ensembles.dev/v1alpha1").body["resources"]
    ensembles = next(item for item in resources if item["name"] == "inferenceensembles")
    assert ensembles["shortNames"] == ["ie"]
    assert ensembles["categories"] == ["all"]


def test_explain_has_our_words(api: Any) -> None:
    schemas = api.call("GET", "/openapi/v3/apis/ensembles.dev/v1alpha1").body["components"]["schemas"]
    text = json.dumps(schemas)
    assert 'Default: \\"tf32\\".' in text
    assert "Where artifacts and revisions are kept" in text


def test_the_largest_ensemble_is_within_the_cost_of_rules(api: Any) -> None:
    """Estimates passed when the CRD was installed; this is the price at run time."""
    members = [
        {"name": f"{index:02}{'m' * 120}", "onnxruntime": {"source": {"uri": "s3://m/n.onnx"}}}
        for index in range(60)
    ]
    steps = [
        {
            "model": members[index % 60]["name"],
            "inputs": [{"name": f"input{item}", "from": f"{index}.{item}"} for item in range(16)],
            "outputs": [{"name": f"output{item}", "to": f"{index + 1}.{item}"} for item in range(16)],
        }
        for index in range(64)
    ]
    ensembles = [{"name": f"e{index}", "ensemble": {"steps": steps}} for index in range(4)]
    document = ensemble("largest")
    document["spec"]["models"] = [*members, *ensembles]
    answer = api.create(document, dry_run=True)
    assert answer.code == 201, answer.message
