"""The metrics API of the local cluster: metrics-server out of its Go module, run beside the control plane."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import live, localnode
from tests.gitops.judges import go

MODULE = "sigs.k8s.io/metrics-server/cmd/metrics-server@v0.9.0"
PORT = 10443
SERVICE = "test-metrics-server"
API = "v1beta1.metrics.k8s.io"
RESOLUTION = "10s"
TIMEOUT = "5s"
"""Must be shorter."""


@contextmanager
def running() -> Iterator[None]:
    """The cluster says how much CPU its pods use, within the block; one that does anyway is left alone."""
    if answers():
        yield
        return
    localnode.require()
    program = built(live.CACHE)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(_command(program, folder), stdout=output, stderr=output)
        try:
            live.kubectl(
                "apply", "-f", "-", text=json.dumps({"kind": "List", "apiVersion": "v1", "items": _objects()})
            )
            live.eventually(answers, seconds=90, what=lambda: log.read_text()[-3000:])
            yield
        finally:
            live.kubectl("delete", "apiservice", API, "--ignore-not-found")
            live.kubectl("-n", "kube-system", "delete", "service", SERVICE, "--ignore-not-found")
            live.kubectl("-n", "kube-system", "delete", "endpointslice", SERVICE, "--ignore-not-found")
            process.terminate()
            process.wait(timeout=30)


def answers() -> bool:
    return '"PodMetricsList"' in live.kubectl(
        "get", "--raw", "/apis/metrics.k8s.io/v1beta1/pods", check=False
    )


def built(cache: Path) -> Path:
    """The program; compiled the first time, which takes minutes."""
    folder = cache / "extra" / MODULE.rpartition("@")[2]
    program = folder / "metrics-server"
    if not program.exists():
        compiler, environment = go(cache)
        subprocess.run(
            [compiler, "install", MODULE], check=True, cwd="/", env={**environment, "GOBIN": str(folder)}
        )
    return program


def _command(program: Path, folder: str) -> list[str]:
    config = live.environment()["KUBECONFIG"]
    return [
        str(program),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--secure-port={PORT}",
        f"--cert-dir={folder}",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        f"--metric-resolution={RESOLUTION}",
        f"--kubelet-request-timeout={TIMEOUT}",
    ]


def _objects() -> list[dict[str, object]]:
    """A Service without selector that leads to the node, and the API behind it."""
    node = live.get("nodes")["items"][0]
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    where = {"name": SERVICE, "namespace": "kube-system"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": where,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**where, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": SERVICE, "namespace": "kube-system", "port": 443},
            },
        },
    ]
