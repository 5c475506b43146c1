"""Exports: models that a container of the user's writes. What it wrote becomes a source like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ensemble_builder.artifacts.keys import artifact_key
from ensemble_builder.artifacts.sources import Locked, Version, is_folder, versions
from ensembles_api.contract import ArtifactRecord, BuildOrder, LockedFile, LockedSource, Request
from ensembles_api.spec import Export

PINNED = "@sha256:"
"""What stands in the reference of an image that cannot change."""


def export_order(
    request: Request, version: Version, export: Export, locked: Locked, revision: int
) -> BuildOrder:
    """The order to run an export. Resources are no part of its key: they change no bytes."""
    field = f"{version.field}.export"
    inputs = tuple(_inputs(export, field, locked))
    parameters: dict[str, Any] = {
        "image": export.image,
        "command": export.command,
        "args": export.args,
        "env": [[variable.name, variable.value] for variable in export.env],
        "gpu": export.gpu,
        "output": export.output,
        "revision": revision,
    }
    if PINNED not in export.image:
        # Whether a tag has moved, nobody here can tell: whoever moved it asks for a new export by annotation.
        parameters["requested_at"] = request.requested_at
    return BuildOrder(
        kind="export",
        key=artifact_key("export", inputs=inputs, parameters=parameters, toolchain=""),
        model=version.model.name,
        version=version.number,
        field=field,
        gpu=export.gpu,
        inputs=inputs,
        parameters=parameters,
    )


def _inputs(export: Export, field: str, locked: Locked) -> Iterator[LockedFile]:
    for place, given in enumerate(export.inputs):
        files = locked[f"{field}.inputs[{place}].source"].files
        for file in files:
            path = f"{given.name}/{file.path}" if is_folder(given.source) else given.name
            yield file.model_copy(update={"path": path})


def exported_sources(
    orders: tuple[BuildOrder, ...], records: Mapping[str, ArtifactRecord], locked: Locked
) -> tuple[LockedSource, ...]:
    """What finished exports wrote, for those that are not among the locked sources yet.

    A chain of rounds locks it once: a second run of the same export may write other bytes.
    """
    return tuple(
        LockedSource(field=order.field, files=records[order.key].files)
        for order in orders
        if order.kind == "export" and order.key in records and order.field not in locked
    )


def engines_to_come(request: Request, locked: Locked) -> int:
    """How many engines will be ordered once their ONNX files are exported."""
    waiting = sum(
        version.kind == "tensorrt" and version.source_field not in locked for version in versions(request)
    )
    return waiting * len(request.targets)


def unpinned_images(request: Request) -> tuple[str, ...]:
    """A warning for each export whose image may change under its name."""
    cure = "pin it (name@sha256:...), or set the annotation ensembles.dev/requestedAt to export again"
    return tuple(
        f"{version.field}.export.image: {version.export.image} is no digest, and another image of that name "
        f"is not noticed; {cure}"
        for version in versions(request)
        if version.export and PINNED not in version.export.image
    )
