"""What containers are told to run is what `ensemble-builder` understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_builder.cli import _parser as builder_parser
from ensemble_operator.resources.pods import BUILDER

COMMANDS = {
    "assemble": "assemble",
    "fetch": "fetch",
    "keep": "keep",
    "compile": "compile",
    "upload": "upload",
    "verify": "verify",
    "analyse": "analyse",
    "prune": "prune",
}


def test_the_builder_understands_every_container(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        if container["command"] == [BUILDER]:
            options = builder_parser().parse_args(container["args"])
            assert options.command == COMMANDS[container["name"]]
        else:
            assert container["name"] in {"tritonserver", "export", "http"}


def test_paths_given_to_the_builder_are_mounted(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        if container["command"] != [BUILDER]:
            continue
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        options = vars(builder_parser().parse_args(container["args"]))
        folders = {options[name] for name in ("work", "to", "files") if options.get(name)}
        if container["name"] == "assemble":
            folders.add(options["request"].parent)
            folders |= {Path(mount) for mount in mounts if mount.startswith(str(options["configmaps"]))}
        assert {str(folder) for folder in folders} <= mounts, container["name"]
