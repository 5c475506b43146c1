"""A real tritonserver for tests: the CPU build in the nvidia-pytriton wheel, with its Python backend."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.ports import free_ports

WHEEL = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
"""What the wheel's Python stub was built for: with NumPy 2 it sends empty tensors."""
IMAGE = Path(__file__).parents[2] / "images" / "tritonserver-cpu"


@dataclass(frozen=True)
class RunningServer:
    """`port`: gRPC."""

    port: int
    metrics: int
    process: subprocess.Popen[bytes]
    log: Path


def installed() -> Path:
    """The server's files, installed into the cache once."""
    cache = Path(os.environ.get("ENSEMBLES_CACHE", Path.home() / ".cache/ensembles-cluster"))
    folder = cache / WHEEL.replace("==", "-")
    with _alone(folder):
        if not (folder / "server").exists():
            _install(folder)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Tests run in several processes; each finds the files whole, or installs them."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path) -> None:
    _uv("venv", "--clear", "--python", sys.executable, str(folder / "venv"))
    _uv("pip", "install", "--no-deps", "--python", str(folder / "venv/bin/python3"), NUMPY)
    draft = folder / "draft"
    _uv("pip", "install", "--no-deps", "--target", str(draft), WHEEL)
    server = draft / "pytriton/tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, server / "backends/python/triton_python_backend_stub")
    draft.rename(folder / "server")


def _uv(*arguments: str) -> None:
    done = subprocess.run(["uv", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"these tests need a real tritonserver; `uv {' '.join(arguments)}` said:\n{done.stderr}")


@dataclass(frozen=True)
class Program:
    """tritonserver as installed: where it is, and what it must be started with."""

    path: Path
    backends: Path
    environment: dict[str, str]


def program() -> Program:
    base = installed()
    server = base / "server/pytriton/tritonserver"
    libraries = [str(base / "server/nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    environment = {
        "LD_LIBRARY_PATH": ":".join(libraries),
        # The stub ignores PYTHONPATH: it looks for python3 on PATH.
        "PATH": f"{base / 'venv/bin'}:{os.environ['PATH']}",
    }
    return Program(server / "bin/tritonserver", server / "backends", environment)


def with_stand_ins(folder: Path) -> Program:
    """The same with the stand-ins of the test image for DALI's and ONNX Runtime's backends, in `folder`."""
    found, base = program(), installed()
    python = base / "stand-ins"
    with _alone(base):
        if not (python / "complete").exists():
            _uv("venv", "--clear", "--python", sys.executable, str(python))
            _uv("pip", "install", "--no-deps", "--python", str(python / "bin/python3"), *_image_packages())
            (python / "complete").touch()
    shutil.copytree(found.backends / "python", folder / "python")
    shutil.copytree(IMAGE / "backends", folder, dirs_exist_ok=True)
    environment = {**found.environment, "PATH": f"{python / 'bin'}:{os.environ['PATH']}"}
    return Program(found.path, folder, environment)


def _image_packages() -> list[str]:
    """What the test image's Dockerfile installs, but the server."""
    pinned = re.findall(r"(?<=\s)[\w.-]+==[\w.]+", (IMAGE / "Dockerfile").read_text())
    return [package for package in pinned if package != WHEEL]


@contextmanager
def tritonserver(
    repository: Path,
    log: Path,
    *more: str,
    address: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
) -> Iterator[RunningServer]:
    """Serve a model repository on a loopback address, with `more` options; live when entered.

    `ports`: http, grpc and metrics.
    """
    found = program()
    ports = ports or dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    arguments = [
        str(found.path),
        f"--model-repository={repository}",
        f"--backend-directory={found.backends}",
        *(f"--{name}-port={port}" for name, port in ports.items()),
        *(f"--{name}-address={address}" for name in ports),
        "--model-control-mode=explicit",
        "--load-model=*",
        *(() if "--disable-auto-complete-config" in more else ("--disable-auto-complete-config",)),
        "--exit-on-error=false",
        "--exit-timeout-secs=5",
        *more,
    ]
    environment = {**os.environ, **found.environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_until_live(f"{address}:{ports['grpc']}", process, log)
        yield RunningServer(ports["grpc"], ports["metrics"], process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # A Python model that was still busy outlives its server.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_live(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"tritonserver ended:\n{log.read_text()[-4000:]}")
        with InferenceServerClient(address) as client:
            try:
                if client.is_server_live(client_timeout=1):
                    return
            except InferenceServerException:
                pass
        time.sleep(0.2)
    pytest.fail(f"tritonserver did not come up:\n{log.read_text()[-4000:]}")
