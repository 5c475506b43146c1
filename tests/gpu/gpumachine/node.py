"""The cluster on the machine: our own Kubernetes, NVIDIA's device plugin on it, the images, the operator."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from localcluster import fakegpu, images, lifecycle, processes
from localcluster.settings import DEFAULT_PORT, NODE_NAME, Settings, default_state
from testimages import building
from testimages.catalog import ROOT, ProgramImage, by_name

from gpumachine.places import CLUSTER, IMAGES, NETTOOLS, NVIDIA
from gpumachine.shell import Machine, RunError, eventually

RESOURCE = "nvidia.com/gpu"
_PLUGIN = "nvidia-device-plugin"
_DRIVER_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
_NAMESPACE = "ensemble-operator"

Lap = Callable[[str], None]


def machine(root: Path) -> Machine:
    """The machine that a bundle was unpacked on. Changes this process' environment for what it starts."""
    os.environ["PATH"] = f"{root / NETTOOLS / 'sbin'}{os.pathsep}{os.environ['PATH']}"
    os.environ.pop("LD_LIBRARY_PATH", None)  # of a toolkit, say: the node's programs bring their own
    settings = Settings(state=default_state(), cache=(root / CLUSTER).resolve(), port=DEFAULT_PORT)
    return Machine(root, ROOT, settings)


def up(here: Machine, lap: Lap, *, rehearsal: bool) -> None:
    """Bring everything up; what runs already is left alone. In a rehearsal the node claims a GPU.

    Raises:
        RunError, ClusterError: a step failed.
    """
    lifecycle.up(here.settings)
    lap("cluster up")
    if rehearsal:
        fakegpu.advertise(here.settings, 1, "NVIDIA-FAKE")
    else:
        _start_plugin(here)
        _label(here)
    eventually(
        lambda: _gpus(here), seconds=60, what=lambda: f"the node offers {RESOURCE}; {_plugin_log(here)}"
    )
    lap(f"the node offers {_gpus(here)} {RESOURCE}")
    _load_images(here)
    lap("images loaded")
    _install_operator(here)
    lap("operator ready")


def product(here: Machine) -> str:
    """The GPU's name as the node's label has it."""
    return str(here.get("node", NODE_NAME)["metadata"]["labels"].get("nvidia.com/gpu.product", ""))


def _start_plugin(here: Machine) -> None:
    settings = here.settings
    if processes.running(_PLUGIN, run=settings.run):
        return
    programs = here.root / NVIDIA
    # On the node itself and not in a pod: it needs the driver and the kubelet's socket, and nothing else.
    command = [
        str(programs / _PLUGIN),
        "--device-list-strategy=cdi-cri",
        "--nvidia-driver-root=/",
        "--container-driver-root=/",
        f"--nvidia-cdi-hook-path={programs / 'nvidia-cdi-hook'}",
    ]
    environment = _driver_environment()
    processes.start(_PLUGIN, command, purpose="", run=settings.run, logs=settings.logs, env=environment)


def _label(here: Machine) -> None:
    """Label the node as GPU feature discovery would, which writes a file where nothing collects labels."""
    found = here.settings.state / "gpu-features"
    command = [
        str(here.root / NVIDIA / "gpu-feature-discovery"),
        "--oneshot",
        "--no-timestamp",
        "--use-node-feature-api=false",
        "--container-driver-root=/",
        f"--output-file={found}",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=_driver_environment())
    if done.returncode or not found.is_file():
        raise RunError(f"gpu-feature-discovery failed: {done.stderr[-800:]}")
    here.kubectl("label", "node", NODE_NAME, "--overwrite", *found.read_text().split())


def _driver_environment() -> dict[str, str]:
    folders = [folder for folder in _DRIVER_FOLDERS if (Path(folder) / "libnvidia-ml.so.1").exists()]
    return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": os.pathsep.join(folders[:1])}


def _gpus(here: Machine) -> int:
    allocatable = here.get("node", NODE_NAME)["status"].get("allocatable", {})
    return int(allocatable.get(RESOURCE, 0))


def _plugin_log(here: Machine) -> str:
    log = here.settings.logs / f"{_PLUGIN}.log"
    return log.read_text()[-800:] if log.is_file() else "the device plugin says nothing"


def _load_images(here: Machine) -> None:
    layout = (here.root / IMAGES).resolve()
    note = here.settings.state / "loaded-layout.json"
    index = (layout / "index.json").read_text()
    if not note.is_file() or note.read_text() != index:
        archive = here.settings.state / "images.tar"
        with tarfile.open(archive, "w") as target:
            for path in sorted(layout.rglob("*")):
                if path.is_file():
                    target.add(path, arcname=str(path.relative_to(layout)))
        images.load(here.settings, archive)
        archive.unlink()
        note.write_text(index)
    s3 = by_name("s3")
    if isinstance(s3, ProgramImage):
        building.load(here.settings, s3, "of the bundle")


def _install_operator(here: Machine) -> None:
    here.kubectl("apply", "-f", here.repository / "tests/images/s3.yaml")
    here.run(
        *("helm", "upgrade", "--install", "ensemble-operator", here.repository / "charts/ensemble-operator"),
        *("--namespace", _NAMESPACE, "--create-namespace"),
        *("--values", here.repository / "tests/gpu/values.yaml"),
    )
    for namespace, name in ((_NAMESPACE, "ensemble-operator"), ("s3", "s3")):
        here.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s")
