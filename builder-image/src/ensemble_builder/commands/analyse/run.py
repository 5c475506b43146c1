"""The analysis of a rollout under real traffic."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ensemble_builder.commands.analyse.judging import (
    Bounds,
    described,
    is_hopeless,
    judge,
    mean_milliseconds,
    total,
)
from ensemble_builder.commands.analyse.metrics import Counts
from ensemble_builder.commands.analyse.servers import Ports, Servers
from ensemble_builder.commands.log import say
from ensemble_builder.faults import FaultError
from ensembles_api.contract import AnalysisFigures, Fault, Result, Traffic
from ensembles_api.reasons import Reason

WORKERS = 16
INTERVAL_SECONDS = 2.0
TELL_SECONDS = 15.0


def run(
    *,
    new_host: str,
    old_host: str,
    entrypoint: str,
    seconds: float,
    bounds: Bounds,
    ports: Ports,
    interval: float = INTERVAL_SECONDS,
) -> Result:
    """Measure for a while, then judge.

    Args:
        new_host: a name that resolves to every new server's address.
        old_host: as new_host, of the old servers; empty where there are none.
        entrypoint: the model whose requests count.
        seconds: how long; less only where most requests to the new servers fail.
        bounds: what the new servers may be worse by.
        ports: of the servers.
        interval: seconds between two looks.

    Returns:
        Result with the figures, where the new servers kept to the bounds.

    Raises:
        FaultError: AnalysisFailed with the bound, its field and the figures; AnalysisInconclusive where too
        few requests came, or the new servers' metrics cannot be read.
    """
    new, old = Servers(new_host, entrypoint, ports), Servers(old_host, entrypoint, ports)
    began = time.monotonic()
    _measure(new, old, bounds, until=began + seconds, interval=interval)
    reference = _reference(old)
    if not new.known:
        why = "; ".join(f"{server}: {text}" for server, text in new.silent.items())
        raise _fault(
            Reason.ANALYSIS_INCONCLUSIVE,
            f"no server of {new_host} tells its metrics: {why or 'the name has no address'}",
        )
    verdict = judge(new.counted, reference, bounds)
    if verdict.outcome == "open":
        raise _fault(Reason.ANALYSIS_INCONCLUSIVE, verdict.text, field=verdict.field)
    if verdict.outcome == "failed":
        raise _fault(Reason.ANALYSIS_FAILED, verdict.text, field=verdict.field)
    figures = AnalysisFigures(
        new=_traffic(new.counted), old=_traffic(reference), seconds=round(time.monotonic() - began)
    )
    return Result(analysis=figures)


def _measure(new: Servers, old: Servers, bounds: Bounds, *, until: float, interval: float) -> None:
    told = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        while True:
            for side in (new, old):
                if side.host:
                    side.look(pool)
            now = time.monotonic()
            if now >= until or is_hopeless(new.counted, _reference(old), bounds):
                return
            if now - told >= TELL_SECONDS:
                say(f"new servers: {described(new.counted)}; old servers: {described(old.counted)}")
                told = now
            time.sleep(min(interval, max(0.0, until - now)))


def _reference(old: Servers) -> Counts:
    """What the new servers are compared with. Where the old ones get no requests any more: their failures of
    former times, which tell what clients do wrong; how long requests took then says nothing.
    """
    return old.counted if total(old.counted) else replace(old.before, spent=0)


def _traffic(counts: Counts) -> Traffic:
    return Traffic(
        requests=total(counts), failures=counts.failed, mean_us=round(1000 * mean_milliseconds(counts))
    )


def _fault(code: Reason, message: str, *, field: str = "") -> FaultError:
    return FaultError(Fault(code=code, message=message, field=field))
