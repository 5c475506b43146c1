"""compile: turn one build order and its inputs into an artifact, without credentials or storage."""

from __future__ import annotations

import errno
import shutil
import traceback
from pathlib import Path

from ensemble_builder.commands.log import say, step
from ensemble_builder.compilers.child import StoppedError
from ensemble_builder.compilers.dali import proving as pipelines
from ensemble_builder.compilers.environment import pack_environment
from ensemble_builder.compilers.tensorrt import proving as engines
from ensemble_builder.compilers.work_folder import ORDER, OUTPUTS, RECORD, RESULT, compiling
from ensemble_builder.faults import FaultError
from ensembles_api.contract import BuildOrder, CompileResult, Fault
from ensembles_api.reasons import Reason


def run(work: Path) -> CompileResult:
    """Compile what `work`/order.json asks for from `work`/in into `work`/out.

    The result is written to `work`/out/result.json: a fault is a result, not a failed command.

    Raises:
        StoppedError: SIGTERM came. No result is left, but perhaps a timing cache.
    """
    order = BuildOrder.model_validate_json((work / ORDER).read_bytes())
    with compiling(work):
        return _run(order, work)


def _run(order: BuildOrder, work: Path) -> CompileResult:
    out = work / OUTPUTS
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        # fetch brings the record of what is built already.
        done = "proved" if order.proof and (work / RECORD).exists() else "compiled"
        with step(f"{done} {order.kind} {order.model!r}"):
            result = _compile(order, work)
    except StoppedError:
        say("stopped before there was a result")
        raise
    except FaultError as error:
        say(str(error))
        result = CompileResult(fault=error.fault)
    except Exception as error:  # noqa: BLE001 - upload reports it
        traceback.print_exc()
        result = CompileResult(fault=_unforeseen(order, error))
    try:
        _write(result, out)
    except OSError as error:
        for file in result.files:  # which are of no use without a result: its few bytes take their place
            (out / file).unlink(missing_ok=True)
        result = CompileResult(fault=_unforeseen(order, error))
        _write(result, out)
    return result


def _unforeseen(order: BuildOrder, error: Exception) -> Fault:
    """A full disk may have room again at the next attempt; all else would end in the same way."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = (
            f"the disk is full that the build of {order.field} works on: the node needs more room for pods"
        )
        return Fault(code=Reason.JOB_FAILED, message=message)
    message = f"the compiler failed: {type(error).__name__}: {error}"
    return Fault(code=Reason.COMPILE_FAILED, field=order.field, message=message)


def _write(result: CompileResult, out: Path) -> None:
    draft = out / f"{RESULT}.tmp"
    draft.write_bytes(result.canonical())
    draft.replace(out / RESULT)


def _compile(order: BuildOrder, work: Path) -> CompileResult:
    if order.kind == "dali":
        return pipelines.compile_proven(order, work=work)
    if order.kind == "environment":
        return pack_environment(order, work=work)
    return engines.compile_proven(order, work=work)
