"""Which cluster the demo runs on, and how images get there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from livedemo.commands import DemoError, output, stream, succeeds
from livedemo.kubernetes import Cluster
from livedemo.places import CLUSTER_TOOL, IMAGE_TOOL, KIND_CLUSTER, ROOT, cache
from livedemo.progress import detail

CHOICES = ("local", "kind", "existing")
PYTHON_IMAGE = "python:3.11-slim-bookworm"
"""What the test images stand on where a Docker engine can pull."""


class Place(ABC):
    """A kind of cluster."""

    fixed_address = False
    """Service addresses of the test manifests fit."""

    @abstractmethod
    def up(self) -> Cluster:
        """A cluster that answers, started if need be."""

    @abstractmethod
    def images(self) -> str:
        """Builds the images and gets them into the cluster.

        Returns:
            A text that changes with the operator's image.
        """

    @abstractmethod
    def down(self) -> None:
        """Removes the cluster, where the demo is what made it."""

    @abstractmethod
    def found(self) -> Cluster | None:
        """The cluster, where it runs."""


def choose(name: str) -> Place:
    """The place of that name; a KUBECONFIG that is set means that cluster rather than a new local one."""
    if name == "kind":
        return Kind()
    given = os.environ.get("KUBECONFIG", "")
    if name == "existing" or (given and given != Local.kubeconfig()):
        return Existing()
    return Local()


def _environment(kubeconfig: str | None = None) -> dict[str, str]:
    env = {**os.environ, "PATH": f"{cache() / 'bin'}:{os.environ['PATH']}"}
    if kubeconfig:
        env["KUBECONFIG"] = kubeconfig
    return env


@dataclass(frozen=True)
class Local(Place):
    """A cluster of plain processes on this machine (tests/cluster)."""

    fixed_address = True

    @staticmethod
    def kubeconfig() -> str:
        return output([sys.executable, CLUSTER_TOOL, "kubeconfig"], env=os.environ).strip()

    def up(self) -> Cluster:
        if os.geteuid() != 0:
            raise DemoError(
                "a cluster on this machine needs root: run it as root, or with CLUSTER=kind where Docker is, "
                "or with KUBECONFIG of a cluster you have"
            )
        stream([sys.executable, CLUSTER_TOOL, "up"], env=os.environ)
        return Cluster(_environment(self.kubeconfig()))

    def images(self) -> str:
        stream([sys.executable, IMAGE_TOOL], env=os.environ)
        loaded = Path(self.kubeconfig()).parent / "loaded-images.json"
        operator: str = json.loads(loaded.read_text())["localhost/ensembles/operator:dev"]
        return operator

    def down(self) -> None:
        stream([sys.executable, CLUSTER_TOOL, "down"], env=os.environ)

    def found(self) -> Cluster | None:
        return _answering(Cluster(_environment(self.kubeconfig())))


@dataclass(frozen=True)
class Kind(Place):
    """kind, where a Docker engine is."""

    def up(self) -> Cluster:
        for program, cure in (("docker", "docs.docker.com/engine"), ("kind", "kind.sigs.k8s.io")):
            if not shutil.which(program):
                raise DemoError(f"{program} is not on PATH: see {cure}")
        if KIND_CLUSTER not in output(["kind", "get", "clusters"], env=os.environ).split():
            stream(["kind", "create", "cluster", "--name", KIND_CLUSTER, "--wait", "180s"], env=os.environ)
        return self._cluster()

    def _cluster(self) -> Cluster:
        kubeconfig = cache() / "kind-kubeconfig"
        kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        kubeconfig.write_text(output(["kind", "get", "kubeconfig", "--name", KIND_CLUSTER], env=os.environ))
        kubeconfig.chmod(0o600)
        return Cluster(_environment(str(kubeconfig)))

    def images(self) -> str:
        references = _build_with_docker()
        stream(["kind", "load", "docker-image", "--name", KIND_CLUSTER, *references], env=os.environ)
        return _docker_id("localhost/ensembles/operator:dev")

    def down(self) -> None:
        stream(["kind", "delete", "cluster", "--name", KIND_CLUSTER], env=os.environ)

    def found(self) -> Cluster | None:
        if not shutil.which("kind"):
            return None
        running = output(["kind", "get", "clusters"], env=os.environ).split()
        return self._cluster() if KIND_CLUSTER in running else None


@dataclass(frozen=True)
class Existing(Place):
    """The cluster of KUBECONFIG (or the default one); its nodes must have the images or be kind's."""

    def up(self) -> Cluster:
        cluster = Cluster(_environment())
        for program in ("kubectl", "helm"):
            if not shutil.which(program, path=cluster.env["PATH"]):
                raise DemoError(f"{program} is not on PATH: install it")
        detail(cluster.kubectl("config", "current-context").strip())
        cluster.kubectl("get", "nodes")
        return cluster

    def images(self) -> str:
        context = Cluster(_environment()).kubectl("config", "current-context").strip()
        if context.startswith("kind-") and shutil.which("docker"):
            references = _build_with_docker()
            name = context.removeprefix("kind-")
            stream(["kind", "load", "docker-image", "--name", name, *references], env=os.environ)
            return _docker_id("localhost/ensembles/operator:dev")
        detail("this cluster's nodes must have the images localhost/ensembles/*:dev; nothing was built")
        return "given"

    def down(self) -> None:
        detail("the cluster is yours and stays; so does the CRD")

    def found(self) -> Cluster | None:
        return _answering(Cluster(_environment()))


def _answering(cluster: Cluster) -> Cluster | None:
    arguments = ["kubectl", "get", "--raw", "/readyz", "--request-timeout=5s"]
    kubectl = shutil.which("kubectl", path=cluster.env["PATH"])
    return cluster if kubectl and succeeds(arguments, env=cluster.env) else None


def _build_with_docker() -> list[str]:
    """Builds the images that tests/images lists, and returns their names."""
    sys.path[:0] = [str(IMAGE_TOOL.parent), str(CLUSTER_TOOL.parent)]
    from testimages.catalog import IMAGES, ProgramImage, by_name  # noqa: PLC0415 - on the path only now

    for image in IMAGES:
        if image.name == "base":
            stream(["docker", "pull", "--quiet", PYTHON_IMAGE], env=os.environ)
            stream(["docker", "tag", PYTHON_IMAGE, image.reference], env=os.environ)
        elif isinstance(image, ProgramImage):
            stream([sys.executable, CLUSTER_TOOL, "build", image.part], env=os.environ)
            recipe = f'FROM scratch\nCOPY {image.program} /{image.program}\nENTRYPOINT ["/{image.program}"]\n'
            build = ["docker", "build", "--quiet", "-t", image.reference, "-f", "-", cache() / "bin"]
            detail(output(build, env=os.environ, given=recipe).strip())
        else:
            below = by_name(image.base)
            base = ["--build-arg", f"BASE={below.reference}"] if below else []
            recipe_file = ROOT / image.dockerfile
            stream(["docker", "build", *base, "-t", image.reference, "-f", recipe_file, ROOT], env=os.environ)
    return [image.reference for image in IMAGES]


def _docker_id(reference: str) -> str:
    return output(["docker", "image", "inspect", "--format", "{{.Id}}", reference], env=os.environ).strip()
