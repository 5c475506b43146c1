"""The verification of a rollout's servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse
from ensemble_builder.commands.log import say, step
from ensemble_builder.commands.verify.asking import INFERENCE_SECONDS, ServerCheck, TimeLimit
from ensemble_builder.commands.verify.servers import (
    PAUSE,
    Deadline,
    failed,
    not_ready,
    reason,
    wait_for_servers,
)
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, Result
from ensembles_api.verification import CaseReport, ServerReport, VerificationPlan, VerificationReport

WORKERS = 8
Save = Callable[[VerificationReport], str]
"""Stores a report; returns its key."""


@dataclass(frozen=True)
class Subject:
    """What is verified, as its report names it."""

    revision: str = ""
    rollout: str = ""
    attempt: int = 1


def run(
    *,
    host: str,
    port: int,
    replicas: int,
    files: Path,
    entrypoint: str,
    timeout: float,
    subject: Subject | None = None,
    save: Save | None = None,
) -> Result:
    """Wait for the servers, then put every case to every server.

    Args:
        host: a name that resolves to every server's address.
        port: gRPC port.
        replicas: servers to wait for.
        files: what `fetch revision` wrote: verification/cases.json and samples lie in it.
        entrypoint: the model clients call: it must be among the models served.
        timeout: seconds for waiting and asking together.
        subject: what is verified.
        save: stores the report; a report that cannot be stored is a warning.

    Returns:
        Result with the verification in short, and where a case failed the fault VerificationFailed naming
        case, server, model and figures.

    Raises:
        FaultError: ServersNotReady where the servers came too late, or went away, to be judged.
    """
    folder = files / layout.VERIFICATION
    plan = _plan(folder)
    begin, started = time.monotonic(), datetime.now(timezone.utc)
    deadline = Deadline(begin + timeout)
    limit = TimeLimit(deadline, fair=min(INFERENCE_SECONDS, timeout / 2))
    while True:
        servers = wait_for_servers(host, port, replicas=replicas, deadline=deadline)
        try:
            with step(f"asked {len(servers)} servers"):
                found = _ask(servers, _Asked(plan, entrypoint, folder, limit))
        except InferenceServerException as error:
            if not deadline.left:
                raise not_ready(f"a server went away while it was asked: {reason(error)}") from error
            say(f"a server went away, once more: {reason(error)}")
            time.sleep(min(PAUSE, deadline.left))
        else:
            break
    subject = subject or Subject()
    report = VerificationReport(
        revision=subject.revision,
        rollout=subject.rollout,
        attempt=subject.attempt,
        started_at=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(time.monotonic() - begin, 3),
        servers=found,
    )
    return _result(report, save)


@dataclass(frozen=True)
class _Asked:
    plan: VerificationPlan
    entrypoint: str
    folder: Path
    limit: TimeLimit

    def of(self, client: InferenceServerClient, server: str) -> ServerCheck:
        return ServerCheck(client, server, self.folder, self.limit)


def _plan(folder: Path) -> VerificationPlan:
    plan = parse(VerificationPlan, (folder / layout.CASES.rpartition("/")[2]).read_bytes())
    if plan is None:
        raise failed(f"{layout.CASES} is none of this contract")
    return plan


def _ask(servers: tuple[str, ...], asked: _Asked) -> tuple[ServerReport, ...]:
    """Reports of all servers. What is timed is timed on one after the other, and only where all is right.

    Raises:
        InferenceServerException: a server went away.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        reports = tuple(pool.map(lambda server: _judged(server, asked), servers))
    right = all(case.outcome != "Failed" for report in reports for case in report.cases)
    if right and any(case.latency for case in asked.plan.cases):
        return tuple(_timed(report, asked) for report in reports)
    return reports


def _judged(server: str, asked: _Asked) -> ServerReport:
    begin = time.monotonic()
    with InferenceServerClient(server) as client:
        check = asked.of(client, server)
        wanted = {case.model for case in asked.plan.cases} | {asked.entrypoint}
        cases = tuple(check.unready_models(wanted)) or tuple(check.ask_all(asked.plan.cases))
    for case in cases:
        say(f"{server}: {_told(case)}")
    return ServerReport(server=server, seconds=round(time.monotonic() - begin, 3), cases=cases)


def _timed(report: ServerReport, asked: _Asked) -> ServerReport:
    begin = time.monotonic()
    with InferenceServerClient(report.server) as client:
        check = asked.of(client, report.server)
        cases = tuple(
            check.timed(case, found) for case, found in zip(asked.plan.cases, report.cases, strict=True)
        )
    for case in cases:
        if case.p50_milliseconds is not None:
            say(f"{report.server}: {_told(case)}")
    seconds = round(report.seconds + time.monotonic() - begin, 3)
    return report.model_copy(update={"cases": cases, "seconds": seconds})


def _told(case: CaseReport) -> str:
    what = f"case {case.case!r} of {case.model!r}" if case.case else f"smoke test of {case.model!r}"
    took = f"p50 {case.p50_milliseconds} ms, p99 {case.p99_milliseconds} ms" if case.p50_milliseconds else ""
    return ", ".join(part for part in (f"{what}: {case.outcome}", took, case.message) if part)


def _result(report: VerificationReport, save: Save | None) -> Result:
    warnings = [
        f"not proven, no sample is known to fit: model {case.model!r}: {case.message}"
        for server in report.servers
        for case in server.cases
        if case.outcome == "Unproven"
    ]
    key = ""
    if save is not None:
        try:
            key = save(report)
        except FaultError as error:
            warnings.append(f"the report was not stored: {error.fault.message}")
    return Result(
        warnings=tuple(dict.fromkeys(warnings)), verification=report.summary(report=key), fault=_fault(report)
    )


def _fault(report: VerificationReport) -> Fault | None:
    failures = report.failures()
    if not failures:
        return None
    server, case = failures[0]
    which = f"case {case.case!r}: " if case.case else ""
    also = f"; {len(failures) - 1} more failed, see the report" if len(failures) > 1 else ""
    return failed(f"{which}model {case.model!r} on {server}: {case.message}{also}").fault
