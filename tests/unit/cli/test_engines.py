"""Which of docker and podman runs containers; stand-ins say what the real ones say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble_cli.laptop.engines import Engine, NoEngineError, container_engine

DOCKER = "echo 'Client: Docker Engine - Community'"
PODMAN = "echo 'Client:       Podman Engine'"
NO_DAEMON = f"{DOCKER}; echo 'Cannot connect to the Docker daemon. Is it running?' >&2; exit 1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(programs: Path, name: str, script: str) -> str:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)
    return str(programs / name)


def test_the_first_that_answers(programs: Path) -> None:
    podman = put(programs, "podman", PODMAN)
    assert container_engine() == Engine(podman, podman=True)
    docker = put(programs, "docker", DOCKER)
    assert container_engine() == Engine(docker, podman=False)


def test_docker_without_its_daemon(programs: Path) -> None:
    put(programs, "docker", NO_DAEMON)
    with pytest.raises(NoEngineError, match=r"^docker does not answer: Cannot connect to the Docker daemon"):
        container_engine()
    podman = put(programs, "podman", PODMAN)
    assert container_engine() == Engine(podman, podman=True)


def test_podman_under_the_name_of_docker(programs: Path) -> None:
    docker = put(programs, "docker", PODMAN)
    assert container_engine() == Engine(docker, podman=True)


@pytest.mark.usefixtures("programs")
def test_neither() -> None:
    with pytest.raises(NoEngineError, match=r"^neither docker nor podman is installed$"):
        container_engine()
