"""A live cluster seen from a test: kubectl, the S3 server, ensembles and their answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import numpy as np
import numpy.typing as npt
import tritonclient.grpc
import tritonclient.http
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from tests.e2e.api import api

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("ENSEMBLES_CACHE", "~/.cache/ensembles-cluster")).expanduser()
STATE = Path(os.environ.get("ENSEMBLES_STATE", "/var/lib/ensembles-cluster"))
BUCKET = "models"
S3_SERVICE = "http://s3.s3.svc:7070"
KEYS = ("test", "testtest")
PATIENCE = float(os.environ.get("ENSEMBLES_PATIENCE", "1"))
"""Times as long may everything take on a machine that is busy with other things, too."""
SMALL = {"requests": {"cpu": "20m", "memory": "256Mi"}}
"""What a test's servers ask of the node: many run at once where there are two cores."""

Array = npt.NDArray[Any]
T = TypeVar("T")


def environment() -> dict[str, str]:
    """The environment of kubectl and helm: the given cluster, else the local one."""
    paths = f"{CACHE / 'bin'}:{os.environ['PATH']}"
    config = os.environ.get("KUBECONFIG") or str(STATE / "kubeconfig")
    return {**os.environ, "PATH": paths, "KUBECONFIG": config}


def run(*command: str, text: str | None = None, check: bool = True) -> str:
    """Run a program; its output.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=environment(), timeout=300
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return done.stdout if done.returncode == 0 else done.stderr


def kubectl(*arguments: str, text: str | None = None, check: bool = True) -> str:
    return run("kubectl", *arguments, text=text, check=check)


def get(kind: str, name: str = "", /, *, namespace: str = "", **query: str) -> dict[str, Any]:
    """An object, or a list of them: of a namespace, or of all where there is none.

    Args:
        kind: as kubectl takes it; several, with commas between, give one list.
        name: of the object; without, a list.
        namespace: where it is.
        query: labelSelector, fieldSelector.
    """
    server = api(environment()["KUBECONFIG"])
    found = [server.read(each, name=name, namespace=namespace, **query) for each in kind.split(",")]
    if len(found) == 1:
        return found[0]
    return {"items": [item for each in found for item in each["items"]]}


def eventually(
    look: Callable[[], T | None],
    *,
    seconds: float = 120,
    every: float = 0.5,
    what: Callable[[], str] | str = "",
) -> T:
    """What `look` returns once it is neither None nor False.

    Args:
        look: asked again and again.
        seconds: how long, times PATIENCE.
        every: seconds between two looks.
        what: what to say of it, should it not happen.

    Raises:
        AssertionError: it did not happen in time.
    """
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what() if callable(what) else what}")
        time.sleep(every)


def operator_pods() -> list[str]:
    """Names of the operator's pods that are ready."""
    label = "app.kubernetes.io/name=ensemble-operator"
    pods = get("pods", namespace="ensemble-operator", labelSelector=label)["items"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)
    ]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def s3_address() -> str:
    """The S3 server as this machine reaches it."""
    address = os.environ.get("ENSEMBLES_S3_ADDRESS")
    if address:
        return address
    service = get("service", "s3", namespace="s3")
    return f"http://{service['spec']['clusterIP']}:7070"


def s3_client() -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=s3_address(),
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
    )


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test, with a prefix of its own in the bucket."""

    name: str
    s3: S3Client

    @property
    def store(self) -> str:
        return f"s3://{BUCKET}/{self.name}/store"

    def put(self, path: str, data: bytes | str) -> str:
        """Upload a source; its uri."""
        body = data.encode() if isinstance(data, str) else data
        self.s3.put_object(Bucket=BUCKET, Key=f"{self.name}/{path}", Body=body)
        return f"s3://{BUCKET}/{self.name}/{path}"

    def read(self, path: str) -> bytes:
        """An object's bytes."""
        return self.s3.get_object(Bucket=BUCKET, Key=f"{self.name}/{path}")["Body"].read()

    def objects(self, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{self.name}/{prefix}"
        )
        return [
            entry["Key"].removeprefix(f"{self.name}/") for page in pages for entry in page.get("Contents", [])
        ]

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        return kubectl("-n", self.name, *arguments, text=text, check=check)

    def get(self, kind: str, name: str = "", /, **query: str) -> dict[str, Any]:
        return get(kind, name, namespace=self.name, **query)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        query = {"labelSelector": selector} if selector else {}
        found: list[dict[str, Any]] = self.get(kind, **query)["items"]
        return found

    def document(self, name: str, models: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
        """An InferenceEnsemble whose storage is this namespace's."""
        storage = {
            "uri": self.store,
            "endpoint": S3_SERVICE,
            "secretName": "model-storage",
            **spec.pop("storage", {}),
        }
        serving = {"resources": SMALL, **spec.pop("serving", {})}
        return {
            "apiVersion": "ensembles.dev/v1alpha1",
            "kind": "InferenceEnsemble",
            "metadata": {"name": name, "namespace": self.name},
            "spec": {"storage": storage, "models": models, "serving": serving, **spec},
        }

    def apply(self, name: str, models: list[dict[str, Any]], **spec: Any) -> Ensemble:
        self.kubectl("apply", "-f", "-", text=json.dumps(self.document(name, models, **spec)))
        return Ensemble(self, name)


NamespaceFactory = Callable[[str], AbstractContextManager[Namespace]]


@dataclass(frozen=True)
class Ensemble:
    namespace: Namespace
    name: str

    def object(self) -> dict[str, Any]:
        return self.namespace.get("inferenceensemble", self.name)

    def condition(self, kind: str) -> Mapping[str, Any]:
        """A condition of the generation that the operator has seen last; {} where it is absent."""
        found = self.object()
        status = found.get("status", {})
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return {}
        return next((c for c in status.get("conditions", []) if c["type"] == kind), {})

    def wait(self, kind: str = "Ready", reason: str = "", *, seconds: float = 180) -> Mapping[str, Any]:
        """Wait for a condition to be True, with this reason where one is given."""

        def look() -> Mapping[str, Any] | None:
            found = self.condition(kind)
            if found.get("status") == "True" and reason in {"", found.get("reason")}:
                return found
            return None

        return eventually(look, seconds=seconds, what=self.describe)

    def describe(self) -> str:
        conditions = self.object().get("status", {}).get("conditions", [])
        lines = [f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions]
        return "\n".join([*lines, self.namespace.kubectl("get", "pods,jobs", check=False)])

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.object().get("status", {})
        return found

    def delete(self, *, wait: bool = True) -> None:
        self.namespace.kubectl("delete", "ie", self.name, f"--wait={str(wait).lower()}", "--timeout=120s")

    def address(self) -> str:
        """The Service's address, reachable from the node itself."""
        service = self.namespace.get("service", self.name)
        return str(service["spec"]["clusterIP"])

    @contextmanager
    def http(self) -> Iterator[tritonclient.http.InferenceServerClient]:
        client = tritonclient.http.InferenceServerClient(f"{self.address()}:8000", network_timeout=60)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def grpc(self) -> Iterator[tritonclient.grpc.InferenceServerClient]:
        with tritonclient.grpc.InferenceServerClient(f"{self.address()}:8001") as client:
            yield client

    def reach(self, port: int) -> None:
        """Wait until this node routes to the Service: kube-proxy follows a ready endpoint after a moment."""
        eventually(
            lambda: _accepts(self.address(), port), seconds=30, what=f"port {port} of {self.name} refuses"
        )

    def infer(self, model: str, inputs: Mapping[str, Array], *, protocol: str = "http") -> dict[str, Array]:
        """One request; all outputs by name."""
        self.reach(8000 if protocol == "http" else 8001)
        module = tritonclient.http if protocol == "http" else tritonclient.grpc
        tensors = []
        for name, value in inputs.items():
            tensor = module.InferInput(name, list(value.shape), _triton_type(value))
            tensor.set_data_from_numpy(value)
            tensors.append(tensor)
        with self.http() if protocol == "http" else self.grpc() as client:
            answer = client.infer(model, tensors)
            response = answer.get_response()
            outputs = response["outputs"] if protocol == "http" else response.outputs
            names = [output["name"] if protocol == "http" else output.name for output in outputs]
            return {name: answer.as_numpy(name) for name in names}


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def _triton_type(value: Array) -> str:
    if value.dtype == np.object_:
        return "BYTES"
    kinds = {"f": "FP", "i": "INT", "u": "UINT", "b": "BOOL"}
    kind = kinds[value.dtype.kind]
    return kind if kind == "BOOL" else f"{kind}{value.dtype.itemsize * 8}"
