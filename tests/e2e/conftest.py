"""What the end-to-end tests stand on: a cluster with the chart installed, and a namespace for each test."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mypy_boto3_s3 import S3Client

from tests.e2e import live


@pytest.fixture(scope="session")
def cluster() -> None:
    """A cluster that answers, with the S3 server in it."""
    try:
        live.kubectl("version")
    except (AssertionError, FileNotFoundError) as error:
        pytest.fail(f"no cluster answers: run `make images` or set KUBECONFIG ({error})", pytrace=False)
    live.kubectl("apply", "-f", str(live.ROOT / "tests/images/s3.yaml"))
    live.kubectl("-n", "s3", "rollout", "status", "deployment/s3", "--timeout=120s")
    # A cluster that does not know such policies has more than one small node.
    live.kubectl("apply", "-f", str(live.ROOT / "tests/e2e/small-node.yaml"), check=False)


@pytest.fixture(scope="session")
def operator(cluster: None) -> None:
    """The operator from the chart, started anew so that it is the image just built.

    With ENSEMBLES_KEEP_OPERATOR set, one that runs is left as it is: several test runs can share a cluster.
    """
    if os.environ.get("ENSEMBLES_KEEP_OPERATOR") and live.operator_pods():
        return
    live.run(
        *("helm", "upgrade", "--install", "--take-ownership", "ensemble-operator"),
        str(live.ROOT / "charts/ensemble-operator"),
        *("--namespace", "ensemble-operator", "--create-namespace"),
        *("--values", str(live.ROOT / "tests/e2e/values.yaml")),
    )
    live.kubectl("-n", "ensemble-operator", "rollout", "restart", "deployment/ensemble-operator")
    live.kubectl(
        "-n", "ensemble-operator", "rollout", "status", "deployment/ensemble-operator", "--timeout=120s"
    )


@pytest.fixture(scope="session")
def s3(cluster: None) -> S3Client:
    return live.s3_client()


@pytest.fixture(scope="session")
def make_namespace(operator: None, s3: S3Client) -> live.NamespaceFactory:
    """Make a namespace: restricted Pod Security, the storage's Secret; gone after the with block."""

    @contextmanager
    def make(purpose: str) -> Iterator[live.Namespace]:
        name = f"{purpose}-{uuid.uuid4().hex[:5]}"
        live.kubectl("create", "namespace", name)
        live.kubectl(
            *("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"),
            "e2e/small-node=true",
        )
        space = live.Namespace(name, s3)
        space.kubectl(
            *("create", "secret", "generic", "model-storage"),
            f"--from-literal=AWS_ACCESS_KEY_ID={live.KEYS[0]}",
            f"--from-literal=AWS_SECRET_ACCESS_KEY={live.KEYS[1]}",
        )
        try:
            yield space
        finally:
            live.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    return make


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest, make_namespace: live.NamespaceFactory
) -> Iterator[live.Namespace]:
    purpose = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    with make_namespace(purpose[:30].strip("-")) as space:
        yield space
