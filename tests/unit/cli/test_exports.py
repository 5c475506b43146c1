"""Exports without a cluster: the same container, by docker or podman."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ensemble_cli.exits import CommandError
from ensemble_cli.laptop.engines import Engine
from ensemble_cli.laptop.exporting import expanded, export, export_command
from ensembles_api.contract import BuildOrder, NextBuild

DOCKER = Engine("docker", podman=False)
FIELD = "spec.models[0].onnxruntime.export"


def order(**parameters: Any) -> BuildOrder:
    given = {
        "image": "exporter:1",
        "command": [],
        "args": [],
        "env": [],
        "output": "model.onnx",
        **parameters,
    }
    return BuildOrder(
        kind="export", key="0" * 64, model="net", version=1, field=FIELD, inputs=(), parameters=given
    )


def test_the_container_is_the_pods() -> None:
    words = {"command": ["python", "/inputs/e.py"], "args": ["--to", "$(EXPORT_OUTPUT)", "$(SEED)", "$$(X)"]}
    command = export_command(DOCKER, order(**words, env=[["SEED", "7"]]), Path("/w"))
    assert command[:2] == ["docker", "run"]
    assert {"--read-only", "--volume=/w/in:/inputs:ro", "--volume=/w/out:/outputs", "--env=SEED=7"} < set(
        command
    )
    assert command[-7:] == [
        "--entrypoint=python", "exporter:1", "/inputs/e.py", "--to", "/outputs/model.onnx", "7", "$(X)"
    ]  # fmt: skip


def test_a_variable_may_refer_to_those_before_it() -> None:
    command = export_command(
        DOCKER, order(env=[["A", "1"], ["B", "$(A)2"], ["C", "$(B)3$(D)"], ["D", "4"]]), Path("/w")
    )
    assert {"--env=B=12", "--env=C=123$(D)"} < set(command)


def test_without_a_command_the_image_has_its_own() -> None:
    command = export_command(DOCKER, order(args=["fast"]), Path("/w"))
    assert command[-2:] == ["exporter:1", "fast"]
    assert not any(word.startswith("--entrypoint") for word in command)


@pytest.mark.parametrize(
    ("text", "found"),
    [("$(A)$(A)", "11"), ("$(B)", "$(B)"), ("$A ${A}", "$A ${A}"), ("$$(A)", "$(A)"), ("$$$(A)", "$1")],
)
def test_words_are_expanded_as_in_a_pod(text: str, found: str) -> None:
    assert expanded(text, {"A": "1"}) == found


def test_without_containers_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match="is a container, and neither docker nor podman is installed"):
        export(NextBuild(kind="export", key="0" * 64, model="net", field=FIELD), tmp_path)
