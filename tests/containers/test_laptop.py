"""The laptop's way where nothing is installed: the plugin alone, and containers for DALI and tritonserver.

Needs docker or podman with the project's images in its store, or others that ENSEMBLES_BUILDER_IMAGE and
ENSEMBLES_SERVER_IMAGE name. The engines' own settings hold (CONTAINERS_STORAGE_CONF, DOCKER_HOST).
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble_cli.laptop.engines import container_engine
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/efficientnet"
sys.path.append(str(ROOT / "examples"))
from preparation.photographs import photograph  # noqa: E402

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
BUILDER = os.environ.get("ENSEMBLES_BUILDER_IMAGE", "localhost/ensembles/builder:dev")
SERVER = os.environ.get("ENSEMBLES_SERVER_IMAGE", "localhost/ensembles/tritonserver-cpu:dev")
INTERRUPTED = 130


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """kubectl-ensemble as `uv tool install` puts it: without DALI and TensorRT."""
    folder = tmp_path_factory.mktemp("tool")
    environment = {**os.environ, "UV_TOOL_DIR": str(folder), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    subprocess.run(["uv", "tool", "install", "--quiet", str(ROOT / "cli")], check=True, env=environment)
    return str(folder / "bin/kubectl-ensemble")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's files."""
    folder = tmp_path_factory.mktemp("files")
    runpy.run_path(str(EXAMPLE / "prepare.py"))["prepare"](folder)
    return folder


def containers() -> list[str]:
    """Those of the plugin that run or are left."""
    said = subprocess.run(
        [container_engine().program, "ps", "--all", "--filter=name=ensemble-", "--format={{.Names}}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return said.stdout.split()


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    assert containers() == []
    yield
    assert containers() == []


def build_command(plugin: str, files: Path, to: Path) -> list[str]:
    source = f"s3://models/examples/efficientnet={files}"
    return [plugin, "build", str(EXAMPLE / "ensemble.yaml"), "--to", str(to), "--source", source,
            "--builder-image", BUILDER]  # fmt: skip


@pytest.mark.usefixtures("nothing_is_left")
def test_build_serve_and_infer(plugin: str, files: Path, tmp_path: Path) -> None:
    subprocess.run(build_command(plugin, files, tmp_path / "out"), check=True)
    port, log = free_ports(3)[0], tmp_path / "log"
    command = [plugin, "serve", str(tmp_path / "out"), "--server-image", SERVER, "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 120
        while "; ask it: " not in log.read_text():
            assert server.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.3)
        assert len(containers()) == 1
        image = str(photograph("coffee.png"))
        for at, more in ((port, []), (port + 1, ["--grpc"])):
            asked = [plugin, "infer", "--url", f"localhost:{at}", "--model", "efficientnet", "--image", image]
            said = subprocess.run([*asked, "--top=1", *more], check=True, capture_output=True, text=True)
            assert "espresso" in said.stdout
    finally:
        server.send_signal(signal.SIGINT)
        status = server.wait(60)
    assert status == INTERRUPTED, log.read_text()[-4000:]


@pytest.mark.usefixtures("nothing_is_left")
def test_ctrl_c_while_a_container_builds(plugin: str, files: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(build_command(plugin, files, tmp_path / "out"))
    deadline = time.monotonic() + 60
    while not containers():
        assert process.poll() is None, "it built without a container"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == INTERRUPTED
    assert not (tmp_path / "out/models").exists()


def test_an_image_that_is_not_there(plugin: str, files: Path, tmp_path: Path) -> None:
    command = build_command(plugin, files, tmp_path / "out")[:-1]
    said = subprocess.run(
        [*command, "localhost/ensembles/nothing:0"], check=False, capture_output=True, text=True
    )
    assert said.returncode == 1, said.stderr
    assert "the container of localhost/ensembles/nothing:0 could not be started" in said.stderr
    assert "Traceback" not in said.stderr
