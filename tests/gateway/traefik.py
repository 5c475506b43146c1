"""A real data plane for the Gateway API: Traefik, compiled from its Go module, as a process on this node.

Without the DNS providers of its ACME client, which are half of its code and which nothing here uses.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gitops.judges import go
from tests.ports import free_port

SOURCES = Path(__file__).parent / "src/traefik"
LEGO = "github.com/go-acme/lego/v4"
DNS_PROVIDERS = "providers/dns/zz_gen_dns_providers.go"
CONTROLLER = "traefik.io/gateway-controller"


def build(cache: Path) -> Path:
    """The program; compiled where the cache does not have it (ten minutes of CPU time)."""
    files = sorted(SOURCES.iterdir())
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    target = cache / "gateway" / f"traefik-{digest[:12]}"
    if target.exists():
        return target
    program, environment = go(cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in files:
            shutil.copy(file, folder / file.name)

        def call(*arguments: str) -> str:
            done = subprocess.run(
                [program, *arguments],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        module: dict[str, Any] = json.loads(call("mod", "download", "-json", LEGO))
        shutil.copytree(module["Dir"], folder / "lego")
        providers = folder / "lego" / DNS_PROVIDERS
        providers.parent.chmod(0o755)
        providers.unlink()
        shutil.copy(SOURCES / "nodns.go.txt", providers)
        call("mod", "edit", "-replace", f"{LEGO}=./lego")
        made = folder / "traefik"
        call("build", "-ldflags", "-s -w", "-o", str(made), "github.com/traefik/traefik/v3/cmd/traefik")
        shutil.copy(made, target.with_suffix(".new"))
        target.with_suffix(".new").rename(target)
        for path in folder.rglob("*"):
            path.chmod(0o755)  # a module's files cannot be removed as they are
    return target


@dataclass(frozen=True)
class DataPlane:
    """A running Traefik; its listeners' ports on 127.0.0.1."""

    http: int
    grpc: int
    log: Path


@contextmanager
def running(program: Path, kubeconfig: str, log: Path) -> Iterator[DataPlane]:
    """Traefik watching the cluster that a kubeconfig names."""
    plane = DataPlane(http=free_port(), grpc=free_port(), log=log)
    arguments = [
        str(program),
        "--providers.kubernetesgateway=true",
        f"--entrypoints.http.address=127.0.0.1:{plane.http}",
        f"--entrypoints.grpc.address=127.0.0.1:{plane.grpc}",
        "--log.level=INFO",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    environment = {**os.environ, "KUBECONFIG": kubeconfig}
    with log.open("w") as output:
        process = subprocess.Popen(arguments, env=environment, stdout=output, stderr=output)
    try:
        yield plane
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def gateway_class(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": name},
        "spec": {"controllerName": CONTROLLER},
    }


def gateway(name: str, namespace: str, plane: DataPlane, *, of_class: str) -> dict[str, Any]:
    """A Gateway with a listener for each of the two kinds of routes."""
    listeners = [
        {
            "name": kind,
            "protocol": "HTTP",
            "port": port,
            "allowedRoutes": {"namespaces": {"from": "Same"}},
        }
        for kind, port in (("http", plane.http), ("grpc", plane.grpc))
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"gatewayClassName": of_class, "listeners": listeners},
    }
