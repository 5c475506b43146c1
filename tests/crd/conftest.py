"""The example resources, and a real API server with the CRD installed.

The API server is the one KUBECONFIG names, or one started for these tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from kubernetes import client, config

from ensembles_api import names

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
CRD_FILE = REPOSITORY / "crds" / "ensembles.dev_inferenceensembles.yaml"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceensembles.ensembles.dev"


@dataclass(frozen=True)
class Rejected:
    """A resource that must be refused, and what its first lines expect: field and part of the message."""

    document: dict[str, Any]
    field: str
    message: str
    server_message: str


def read_rejected(file: Path) -> Rejected:
    text = file.read_text(encoding="utf-8")
    expected: dict[str, str] = dict(re.findall(r"^# (field|message|server): (.*)$", text, re.MULTILINE))
    return Rejected(
        document=yaml.safe_load(text),
        field=expected["field"],
        message=expected["message"],
        server_message=expected.get("server", expected["message"]),
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`accepted` and `rejected` run once for each file."""
    if "accepted" in metafunc.fixturenames:
        files = sorted((HERE / "accept").glob("*.yaml"))
        documents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
        metafunc.parametrize("accepted", documents, ids=[file.stem for file in files])
    if "rejected" in metafunc.fixturenames:
        files = sorted((HERE / "reject").glob("*.yaml"))
        documents = [read_rejected(file) for file in files]
        metafunc.parametrize("rejected", documents, ids=[file.stem for file in files])


@dataclass(frozen=True)
class Answer:
    """What the API server said: the object, or its Status."""

    code: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def causes(self) -> list[tuple[str, str]]:
        """(field, message) of each fault."""
        causes = self.body.get("details", {}).get("causes", [])
        return [(cause.get("field", ""), cause.get("message", "")) for cause in causes]


@dataclass(frozen=True)
class Api:
    """Requests on InferenceEnsembles in one namespace, with strict field validation throughout."""

    api: client.ApiClient
    namespace: str
    user: str = ""
    """Whom to act as; empty: the administrator that the kubeconfig names."""
    query: dict[str, str] = field(default_factory=lambda: {"fieldValidation": "Strict"})

    def create(self, document: dict[str, Any], *, dry_run: bool = False) -> Answer:
        query = self.query | ({"dryRun": "All"} if dry_run else {})
        return self._call("POST", self._path(), document, "application/json", query)

    def apply(self, document: dict[str, Any], *, manager: str = "gitops", status: bool = False) -> Answer:
        """Server-side apply, as GitOps tools do."""
        path = self._path(document["metadata"]["name"], status=status)
        query = self.query | {"fieldManager": manager, "force": "true"}
        return self._call("PATCH", path, document, "application/apply-patch+yaml", query)

    def merge(self, name: str, patch: dict[str, Any], *, status: bool = False) -> Answer:
        path = self._path(name, status=status)
        return self._call("PATCH", path, patch, "application/merge-patch+json", self.query)

    def get(self, name: str) -> dict[str, Any]:
        return self._call("GET", self._path(name), None, "application/json", {}).body

    def table(self) -> dict[str, Any]:
        """What `kubectl get` prints."""
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        return self._call("GET", self._path(), None, "application/json", {}, headers=accept).body

    def delete(self, name: str) -> Answer:
        return self._call("DELETE", self._path(name), None, "application/json", {})

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Answer:
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        return self._call(method, path, body, kind, query)

    def _path(self, name: str = "", *, status: bool = False) -> str:
        path = f"/apis/{names.API_VERSION}/namespaces/{self.namespace}/{names.PLURAL}"
        return path + (f"/{name}" if name else "") + ("/status" if status else "")

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        content_type: str,
        query: dict[str, str],
        *,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        configuration = self.api.configuration
        token = configuration.get_api_key_with_prefix("authorization")
        response = self.api.rest_client.pool_manager.request(
            method,
            f"{configuration.host}{path}?{urlencode(query)}",
            headers={
                "Accept": "application/json",
                "Content-Type": content_type,  # JSON is YAML: one body for every type
                **({"Authorization": token} if token else {}),
                **({"Impersonate-User": self.user} if self.user else {}),
                **(headers or {}),
            },
            body=None if body is None else json.dumps(body),
        )
        # A path that is not served yet is answered in plain words.
        is_json = "json" in response.headers.get("Content-Type", "")
        body = json.loads(response.data) if is_json else {"message": response.data.decode()}
        return Answer(response.status, body)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    state = tmp_path_factory.mktemp("control-plane")
    cluster = [sys.executable, str(REPOSITORY / "tests" / "cluster" / "cluster.py")]
    subprocess.run([*cluster, "up", "--control-plane-only", "--state", str(state), "--port", "0"], check=True)
    try:
        yield state / "kubeconfig"
    finally:
        subprocess.run([*cluster, "down", "--state", str(state)], check=True)


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Iterator[Api]:
    """The API in a namespace of its own, the CRD installed."""
    with config.new_client_from_config(str(kubeconfig)) as api_client:
        api = Api(api_client, f"crd-{uuid.uuid4().hex[:8]}")
        installed = api.call(
            "PATCH", CRD_PATH, yaml.safe_load(CRD_FILE.read_text(encoding="utf-8")),
            fieldManager="crd-tests", force="true",
        )  # fmt: skip
        assert installed.code in {200, 201}, installed.message
        _wait_until_served(api)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.namespace}}
        assert api.call("POST", "/api/v1/namespaces", namespace).code == 201
        yield api
        api.call("DELETE", f"/api/v1/namespaces/{api.namespace}")


def _wait_until_served(api: Api) -> None:
    for _ in range(100):
        conditions = api.call("GET", CRD_PATH).body.get("status", {}).get("conditions") or []
        state = {condition["type"]: condition for condition in conditions}
        if state.get("Established", {}).get("status") == "True":
            structural = state.get("NonStructuralSchema", {})
            assert structural.get("status") != "True", structural.get("message")
            return
        time.sleep(0.1)
    raise TimeoutError("the CRD is not established after 10 s")
