"""Runs an export's container as a build Job does: inputs read-only, a folder to write to, no credentials."""

from __future__ import annotations

import re
from pathlib import Path

from ensemble_builder.compilers.work_folder import ORDER
from ensemble_cli.exits import CommandError
from ensemble_cli.laptop.attending import attended
from ensemble_cli.laptop.engines import ENGINES, Engine, NoEngineError, container_engine
from ensembles_api.contract import BuildOrder, NextBuild


def export(build: NextBuild, work: Path) -> None:
    """Run the container of `work`/order.json; it writes into `work`/out.

    Raises:
        CommandError: there is nothing to run containers with, or the container failed.
    """
    try:
        engine = container_engine()
    except NoEngineError as error:
        cure = f"install {' or '.join(ENGINES)}, or give the ONNX file as a source"
        raise CommandError(f"{build.field} is a container, and {error}", cure=cure) from error
    order = BuildOrder.model_validate_json((work / ORDER).read_bytes())
    status = attended(export_command(engine, order, work))
    if status:
        raise CommandError(
            f"{build.field}: the container ended with exit code {status}",
            cure="read what it printed above; mend its image, command or inputs",
        )


def export_command(engine: Engine, order: BuildOrder, work: Path) -> list[str]:
    """The container as the operator would make it."""
    asked = order.parameters
    variables = {"HOME": "/tmp", "EXPORT_OUTPUT": f"/outputs/{asked['output']}"}  # noqa: S108 - of the container
    for name, value in asked["env"]:  # one may refer to those before it
        variables[name] = expanded(value, variables)
    command = [expanded(word, variables) for word in asked["command"]]
    arguments = [expanded(word, variables) for word in asked["args"]]
    return [
        *engine.run(gpu=order.gpu),
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp:exec"),
        *(f"--env={name}={value}" for name, value in variables.items()),
        *(f"--volume={work / 'in'}:/inputs:ro", f"--volume={work / 'out'}:/outputs"),
        *([f"--entrypoint={command[0]}"] if command else []),
        asked["image"],
        *command[1:],
        *arguments,
    ]


def expanded(text: str, variables: dict[str, str]) -> str:
    """$(NAME) replaced by its value, as in a container of a pod; $$(NAME) stands for $(NAME)."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]+)\)", value, text)
