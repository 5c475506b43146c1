"""`serve`: what it says before a server is started, and how it ends, by a stand-in for tritonserver. `verify`
where there is nothing to verify.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from ensembles_api.contract import Manifest
from ensembles_api.verification import VerificationPlan
from tests.ports import free_ports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `build` leaves of a repository without models."""
    manifest = Manifest.model_validate(
        {"namespace": "n", "name": "e", "server_image": "s", "versions": {}, "server": {}, "targets": {}}
    )
    (tmp_path / "manifest.json").write_bytes(manifest.canonical())
    (tmp_path / "models").mkdir()
    return tmp_path


def program(folder: Path, text: str) -> str:
    file = folder / "tritonserver"
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize("taken", [0, 1, 2])
@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_port_in_use_is_named_before_the_server_starts(
    folder: Path, capsys: pytest.CaptureFixture[str], taken: int, address: str
) -> None:
    server = program(folder, f"#!/bin/sh\ntouch {folder}/started\n")
    ports = free_ports(3)
    with socket.create_server((address, ports[taken])):
        status = main(["serve", str(folder), "--tritonserver", server, "--port", str(ports[0])])
    (line,) = capsys.readouterr().err.splitlines()
    assert status == Exit.USAGE
    assert f"port {ports[taken]} is in use, and the server takes {ports[0]} to {ports[2]}; " in line
    assert "give --port " in line
    assert not (folder / "started").exists()


@pytest.mark.parametrize("port", ["0", "-1", "65534", "http"])
def test_a_port_that_is_none(folder: Path, capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert main(["serve", str(folder), "--port", port]) == Exit.USAGE
    assert "'--port'" in capsys.readouterr().err


def test_what_cannot_be_started(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = program(folder, "\x00 no program")
    port = str(free_ports(3)[0])
    assert main(["serve", str(folder), "--tritonserver", server, "--port", port]) == Exit.NO
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {server} cannot be started: Exec format error; check that it is a program"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}'])
def test_a_manifest_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (folder / "manifest.json").write_text(text)
    for command in ("serve", "verify"):
        assert main([command, str(folder)]) == Exit.NO
        (line,) = capsys.readouterr().err.splitlines()
        assert "is damaged, or of another version of this program; build again: " in line


@pytest.mark.parametrize(
    ("cases", "status", "words"),
    [
        (VerificationPlan(cases=()).canonical(), Exit.ABSENT, "0 of 1 servers of 127.0.0.1 are ready"),
        (b"[", Exit.NO, "verification/cases.json is none of this contract; build again: "),
    ],
)
def test_what_cannot_be_verified(
    folder: Path, capsys: pytest.CaptureFixture[str], cases: bytes, status: Exit, words: str
) -> None:
    (folder / "verification").mkdir()
    (folder / "verification/cases.json").write_bytes(cases)
    port = str(free_ports(2)[0])
    assert main(["verify", str(folder), "--port", port, "--timeout", "0"]) == status
    line = capsys.readouterr().err.splitlines()[-1]
    assert words in line
    assert (f"start it: kubectl ensemble serve {folder}" in line) is (status == Exit.ABSENT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_server_is_left(folder: Path, number: signal.Signals) -> None:
    process, server = serving(folder)
    process.send_signal(number)
    assert process.wait(20) == Exit.INTERRUPTED
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_nohup_outlives_the_terminal(folder: Path) -> None:
    process, server = serving(folder, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    os.kill(server, 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == Exit.INTERRUPTED


def serving(folder: Path, *before: str) -> tuple[subprocess.Popen[str], int]:
    """`serve` with a server that only sleeps, and the server's pid."""
    server = program(folder, f"#!/bin/sh\necho $$ > {folder}/pid.new\nmv {folder}/pid.new {folder}/pid\n"
                             "exec sleep 60\n")  # fmt: skip
    port = str(free_ports(3)[0])
    command = [*before, sys.executable, "-m", "ensemble_cli", "serve", str(folder)]
    process = subprocess.Popen(
        [*command, "--tritonserver", server, "--port", port],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (folder / "pid").exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    return process, int((folder / "pid").read_text())
