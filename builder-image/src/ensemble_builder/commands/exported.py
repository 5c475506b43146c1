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
    for path in graph.external_data:
        _check(order, out, path)
    provenance: dict[str, Any] = {key: order.parameters[key] for key in ("image", "command", "args")}
    return CompileResult(
        files=(name, *graph.external_data),
        io=graph.io,
        provenance={**provenance, "opsets": dict(graph.opsets), "ir_version": graph.ir_version},
    )


def _check(order: BuildOrder, out: Path, path: str) -> None:
    """Nothing runs in the pod any more that could exchange the file after this."""
    try:
        with open_output(out, path):
            return
    except FaultError as error:
        there = ", ".join(sorted(entry.name for entry in out.iterdir())[:LISTED]) or "nothing"
        message = f"the container ended well, but {error.fault.message}; /outputs holds {there}"
        fault = Fault(code=Reason.EXPORT_FAILED, field=order.field, message=message)
        raise FaultError(fault) from error
