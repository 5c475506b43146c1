"""The Gateway API's own CRDs, standard channel, out of its Go module."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import AlreadyExistsError, NotFoundError
from ensemble_operator.cluster.kinds import Kind
from tests.gitops.judges import go

MODULE = "sigs.k8s.io/gateway-api@v1.4.0"
"""The version that the data plane of these tests is made for; its sum is in src/traefik/go.sum."""
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
GATEWAY_CLASS = Kind("gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")


def crds(cache: Path) -> Iterator[dict[str, Any]]:
    program, environment = go(cache)
    with tempfile.TemporaryDirectory() as elsewhere:
        told = subprocess.run(
            [program, "mod", "download", "-json", MODULE],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    folder = Path(json.loads(told.stdout)["Dir"]) / "config/crd/standard"
    for file in sorted(folder.glob("gateway.networking.k8s.io_*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


def install(api: KubernetesApi, cache: Path) -> None:
    """Create the CRDs that are not there."""
    for manifest in crds(cache):
        with suppress(AlreadyExistsError):
            api._request("POST", CRD.path(None), body=manifest)


def remove(api: KubernetesApi, cache: Path) -> None:
    for manifest in crds(cache):
        api._request("DELETE", CRD.path(None, manifest["metadata"]["name"]))


def is_served(api: KubernetesApi) -> bool:
    try:
        api.list(GATEWAY)
    except NotFoundError:
        return False
    return True
