"""The chart's admission policy on a real API server: who names a Secret must be allowed to use it."""

from __future__ import annotations

import copy
import dataclasses
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensembles_api.generate.crd import served_schema

pytestmark = [pytest.mark.apiserver, pytest.mark.helm]

CHART = Path(__file__).parents[2] / "charts" / "ensemble-operator"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
FOREIGN = "not-mine"
KINDS = ("dali", "tensorrt", "onnxruntime", "python")
EXPORTING = ("tensorrt", "onnxruntime")
EXTENSIBLE = ("dali", "tensorrt")
SAMPLE_SIDES = ("inputs", "outputs")

SOURCE = {"uri": "s3://m/file"}
BASE: dict[str, Any] = {"storage": {"uri": "s3://m/store", "secretName": "mine"}}


def with_model(**fields: Any) -> dict[str, Any]:
    return {**BASE, "models": [{"name": "net", **fields}]}


def foreign(**fields: Any) -> dict[str, Any]:
    return {**SOURCE, "secretName": FOREIGN, **fields}


def in_dali_sample() -> dict[str, Any]:
    return {"source": SOURCE, "samples": [{"inputs": [{"name": "x", "source": foreign()}]}]}


def in_proven_sample() -> dict[str, Any]:
    return {"source": SOURCE, "verification": {"samples": in_dali_sample()["samples"]}}


def in_engine_sample(side: str) -> dict[str, Any]:
    sample = {"inputs": [{"name": "x", "source": SOURCE}], side: [{"name": "x", "source": foreign()}]}
    return {"source": SOURCE, "verification": {"samples": [sample]}}


def in_export() -> dict[str, Any]:
    return {"export": {"image": "exporter", "inputs": [{"name": "weights", "source": foreign()}]}}


ONNX = {"onnxruntime": {"source": SOURCE}}


def with_case(*, given: dict[str, Any] = SOURCE, **expected: dict[str, Any]) -> dict[str, Any]:
    expect = [{"output": "y", **expected}]
    case = {"name": "c", "inputs": [{"name": "x", "source": given}], "expect": expect}
    return {**with_model(**ONNX), "verification": {"cases": [case]}}


SECRETS: dict[str, dict[str, Any]] = {
    "storage.secretName": with_model(**ONNX) | {"storage": {"uri": "s3://m/store", "secretName": FOREIGN}},
    "repository.secretName": BASE | {"repository": {"uri": "s3://m/r/", "secretName": FOREIGN}},
    "serving.imagePullSecrets[].name": with_model(**ONNX)
    | {"serving": {"imagePullSecrets": [{"name": "mine"}, {"name": FOREIGN}]}},
    **{f"models[].{kind}.source.secretName": with_model(**{kind: {"source": foreign()}}) for kind in KINDS},
    "verification.cases[].inputs[].source.secretName": with_case(given=foreign(), range={"min": 0}),
    **{
        f"verification.cases[].expect[].{kind}.source.secretName": with_case(**{kind: {"source": foreign()}})
        for kind in ("equals", "allClose")
    },
    "models[].files.secretName": with_model(files=foreign(uri="s3://m/folder/")),
    "models[].python.environment.source.secretName": with_model(
        python={"source": SOURCE, "environment": {"source": foreign()}}
    ),
    "models[].dali.samples[].inputs[].source.secretName": with_model(dali=in_dali_sample()),
    "models[].dali.verification.samples[].inputs[].source.secretName": with_model(dali=in_proven_sample()),
    **{
        f"models[].{kind}.export.inputs[].source.secretName": with_model(**{kind: in_export()})
        for kind in EXPORTING
    },
    **{
        f"models[].{kind}.plugins[].secretName": with_model(
            **{kind: {"source": SOURCE, "plugins": [foreign()]}}
        )
        for kind in EXTENSIBLE
    },
    **{
        f"models[].tensorrt.verification.samples[].{side}[].source.secretName": with_model(
            tensorrt=in_engine_sample(side)
        )
        for side in SAMPLE_SIDES
    },
    "models[].labels[].source.secretName": with_model(**ONNX, labels=[{"output": "o", "source": foreign()}]),
    "models[].extraFiles[].source.secretName": with_model(
        **ONNX, extraFiles=[{"path": "f", "source": foreign()}]
    ),
    **{
        f"models[].versions[].{kind}.source.secretName": with_model(
            versions=[{"version": 1, kind: {"source": foreign()}}]
        )
        for kind in KINDS
    },
    "models[].versions[].python.environment.source.secretName": with_model(
        versions=[{"version": 1, "python": {"source": SOURCE, "environment": {"source": foreign()}}}]
    ),
    "models[].versions[].dali.samples[].inputs[].source.secretName": with_model(
        versions=[{"version": 1, "dali": in_dali_sample()}]
    ),
    "models[].versions[].dali.verification.samples[].inputs[].source.secretName": with_model(
        versions=[{"version": 1, "dali": in_proven_sample()}]
    ),
    **{
        f"models[].versions[].tensorrt.verification.samples[].{side}[].source.secretName": with_model(
            versions=[{"version": 1, "tensorrt": in_engine_sample(side)}]
        )
        for side in SAMPLE_SIDES
    },
    **{
        f"models[].versions[].{kind}.export.inputs[].source.secretName": with_model(
            versions=[{"version": 1, kind: in_export()}]
        )
        for kind in EXPORTING
    },
    **{
        f"models[].versions[].{kind}.plugins[].secretName": with_model(
            versions=[{"version": 1, kind: {"source": SOURCE, "plugins": [foreign()]}}]
        )
        for kind in EXTENSIBLE
    },
}
ACCOUNTS: dict[str, dict[str, Any]] = {
    "storage.identity.serviceAccountName": with_model(**ONNX)
    | {"storage": {"uri": "s3://m/store", "identity": {"serviceAccountName": FOREIGN, "roleArn": "r"}}},
    "serving.serviceAccountName": with_model(**ONNX) | {"serving": {"serviceAccountName": FOREIGN}},
}


def document(spec: dict[str, Any], name: str = "policed") -> dict[str, Any]:
    return {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": name},
        "spec": copy.deepcopy(spec),
    }


def paths_of(schema: dict[str, Any], wanted: str, path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        if re.fullmatch(wanted, name):
            yield f"{path}{name}"
        yield from paths_of(child, wanted, f"{path}{name}.")
    if "items" in schema:
        yield from paths_of(schema["items"], wanted, f"{path.removesuffix('.')}[].")


def test_every_place_of_the_schema_that_names_a_secret_is_tried() -> None:
    spec = served_schema()["properties"]["spec"]
    assert set(paths_of(spec, "secretName")) | {"serving.imagePullSecrets[].name"} == set(SECRETS)
    assert set(paths_of(spec, "serviceAccountName")) == set(ACCOUNTS)


@pytest.fixture(scope="module")
def policy(api: Any, helm: str) -> Iterator[None]:
    """The rendered policy, enforced in the tests' namespace alone."""
    command = [
        helm, "template", api.namespace, str(CHART), "--namespace", api.namespace, "--kube-version", "1.36.0",
        "--set", f"admissionPolicy.enabled=true,watchNamespaces={{{api.namespace}}}",
        "--show-only", "templates/admissionpolicy.yaml",
    ]  # fmt: skip
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plurals = {
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    }
    created = []
    for manifest in yaml.safe_load_all(text):
        collection = f"{ADMISSION}/{plurals[manifest['kind']]}"
        answer = api.call("POST", collection, manifest)
        assert answer.code == 201, answer.message
        created.append(f"{collection}/{manifest['metadata']['name']}")
    _no_type_errors(api, created[0])
    try:
        _wait_until_enforced(api)
        yield
    finally:
        for path in created:
            api.call("DELETE", path)


def _no_type_errors(api: Any, path: str) -> None:
    """The controller that checks types may not run; what it found must be nothing."""
    warnings = (
        api.call("GET", path).body.get("status", {}).get("typeChecking", {}).get("expressionWarnings", [])
    )
    assert warnings == []


def _wait_until_enforced(api: Any) -> None:
    user = _user_with(api, "nobody-yet", secrets=[])
    for _ in range(100):
        if user.create(document(SECRETS["storage.secretName"]), dry_run=True).code == 403:
            return
        time.sleep(0.1)
    raise TimeoutError("the policy is not enforced after 10 s")


def _user_with(api: Any, name: str, *, secrets: list[str], accounts: list[str] | None = None) -> Any:
    """A user who may create ensembles, and use the Secrets and service accounts named."""
    rules: list[dict[str, Any]] = [
        {"apiGroups": ["ensembles.dev"], "resources": ["inferenceensembles"], "verbs": ["*"]},
    ]
    for resource, names in (("secrets", secrets), ("serviceaccounts", accounts or [])):
        if names:
            rules.append(
                {"apiGroups": [""], "resources": [resource], "resourceNames": names, "verbs": ["use"]}
            )
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": api.namespace},
        "rules": rules,
    }
    binding = {
        **role,
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    del binding["rules"]
    for plural, manifest in (("roles", role), ("rolebindings", binding)):
        answer = api.call("POST", f"{RBAC}/namespaces/{api.namespace}/{plural}", manifest)
        assert answer.code == 201, answer.message
    return dataclasses.replace(api, user=name)


@pytest.fixture(scope="module")
def user(api: Any, policy: None) -> Any:
    """May use the Secret `mine` and nothing else."""
    del policy
    return _settled(_user_with(api, "ml-engineer", secrets=["mine"]))


@pytest.fixture(scope="module")
def trusted(api: Any, policy: None) -> Any:
    del policy
    return _settled(_user_with(api, "trusted", secrets=["mine", FOREIGN], accounts=[FOREIGN]))


def _settled(user: Any) -> Any:
    """The authorizer sees new Roles a moment later."""
    for _ in range(100):
        if user.create(document(with_model(**ONNX)), dry_run=True).code == 201:
            return user
        time.sleep(0.1)
    raise TimeoutError("the Role has no effect after 10 s")


@pytest.mark.parametrize("place", SECRETS)
def test_a_foreign_secret_is_refused(user: Any, place: str) -> None:
    answer = user.create(document(SECRETS[place]), dry_run=True)
    assert answer.code == 403, answer.message
    assert f"you may not use the Secret {FOREIGN}" in answer.message
    assert f"resources: [secrets], resourceNames: [{FOREIGN}], verbs: [use]" in answer.message


@pytest.mark.parametrize("place", ACCOUNTS)
def test_a_foreign_service_account_is_refused(user: Any, place: str) -> None:
    answer = user.create(document(ACCOUNTS[place]), dry_run=True)
    assert answer.code == 403, answer.message
    assert f"you may not use the service account {FOREIGN}" in answer.message
    assert f"resources: [serviceaccounts], resourceNames: [{FOREIGN}], verbs: [use]" in answer.message


@pytest.mark.parametrize("place", [*SECRETS, *ACCOUNTS])
def test_the_verb_use_is_enough(trusted: Any, place: str) -> None:
    answer = trusted.create(document((SECRETS | ACCOUNTS)[place]), dry_run=True)
    assert answer.code == 201, answer.message


def many_secrets(count: int) -> dict[str, Any]:
    """An ensemble that names `count` Secrets, each of them twice, and two service accounts."""
    sources = [foreign(secretName=f"secret-{index}") for index in range(1, count)] * 2
    models = [
        {"name": f"m{index}", "onnxruntime": {"source": source}} for index, source in enumerate(sources)
    ]
    return {
        "storage": {"uri": "s3://m/store", "secretName": "secret-0"},
        "models": models,
        "serving": {"serviceAccountName": FOREIGN},
    }


LIMIT = 20


def test_as_many_secrets_as_can_be_checked(api: Any, policy: None) -> None:
    del policy
    names = [f"secret-{index}" for index in range(LIMIT + 1)]
    user = _settled(_user_with(api, "many", secrets=["mine", *names], accounts=[FOREIGN]))
    answer = user.create(document(many_secrets(LIMIT)), dry_run=True)
    assert answer.code == 201, answer.message
    answer = user.create(document(many_secrets(LIMIT + 1)), dry_run=True)
    assert answer.code == 403
    assert f"names more than {LIMIT} Secrets" in answer.message


def test_the_last_of_many_secrets_counts(api: Any, policy: None) -> None:
    del policy
    names = [f"secret-{index}" for index in range(LIMIT - 1)]
    user = _settled(_user_with(api, "nearly", secrets=["mine", *names], accounts=[FOREIGN]))
    answer = user.create(document(many_secrets(LIMIT)), dry_run=True)
    assert answer.code == 403
    assert f"you may not use the Secret secret-{LIMIT - 1}" in answer.message


def test_an_update_is_asked_the_same(user: Any, trusted: Any) -> None:
    assert trusted.create(document(SECRETS["storage.secretName"])).code == 201
    try:
        assert user.merge("policed", {"spec": {"storage": {"endpoint": "http://mine"}}}).code == 403
        annotated = user.merge(
            "policed", {"metadata": {"annotations": {"note": "metadata needs no Secrets"}}}
        )
        assert annotated.code == 200, annotated.message
    finally:
        trusted.delete("policed")
