"""Reads what an export left behind: only the user's code ran in its container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_builder.commands.outputs import open_output
from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.faults import FaultError
from ensembles_api.contract import BuildOrder, CompileResult, Fault
from ensembles_api.reasons import Reason

LISTED = 5
"""Files named where the right one is missing."""


def read_export(order: BuildOrder, out: Path) -> CompileResult:
    """The ONNX file that `order` asks for and its external data, as a compiler would report them.

    Raises:
        FaultError: ExportFailed where a file is missing or no plain file, InvalidModel where it is no ONNX.
    """
    name = str(order.parameters["output"])
    _check(order, out, name)
    graph = inspect(out / name, field=order.field)
    for path, size in graph.external_data.items():
        _check(order, out, path, least=size)
    provenance: dict[str, Any] = {key: order.parameters[key] for key in ("image", "command", "args")}
    return CompileResult(
        files=(name, *graph.external_data),
        io=graph.io,
        provenance={**provenance, "opsets": dict(graph.opsets), "ir_version": graph.ir_version},
    )


def _check(order: BuildOrder, out: Path, path: str, *, least: int = 0) -> None:
    """Nothing runs in the pod any more that could exchange the file after this."""
    try:
        with open_output(out, path) as file:
            size = file.size
    except FaultError as error:
        there = ", ".join(sorted(entry.name for entry in out.iterdir())[:LISTED]) or "nothing"
        raise _failed(order, f"{error.fault.message}; /outputs holds {there}") from error
    if size < least:
        raise _failed(order, f"{path!r} has {size} bytes, and the model reads {least} of it")


def _failed(order: BuildOrder, what: str) -> FaultError:
    message = f"the container ended well, but {what}"
    return FaultError(Fault(code=Reason.EXPORT_FAILED, field=order.field, message=message))
