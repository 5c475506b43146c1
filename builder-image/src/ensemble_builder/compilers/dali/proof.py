"""Runs a pipeline as a server would, on the GPU where it has GPU operators, and reports what came out.

    python -m ensemble_builder.compilers.dali.proof JOB

JOB is a JSON file (`Job`); proof.json (`Report`) is written beside it. A process of its own: DALI's operators
are native code, and odd input may end the process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ensemble_builder.compilers.dali.twin import MAX_ROUNDS, Observed, following, gist_of, shapes_of
from ensembles_api.contract import Document

REPORT = "proof.json"
TIMED = 5
"""Runs that are timed after the first, which allocates."""


class Job(Document):
    """`samples`: for each, the .npy file of each input. `batches`: sizes to run each at. `gpu`: the pipeline
    has GPU operators. `decoupled`: a sample gives several responses; there are no batches.
    """

    pipeline: str
    samples: tuple[dict[str, str], ...]
    batches: tuple[int, ...] = (1,)
    threads: int = 1
    gpu: bool = False
    decoupled: bool = False
    plugins: tuple[str, ...] = ()


class Seen(Observed):
    """`finite`: no number of it is infinite or NaN."""

    finite: bool = True


class Run(Document):
    """One sample at one batch size. Times are in milliseconds, the outputs' way to the CPU included."""

    sample: int
    batch: int
    outputs: tuple[Seen, ...] = ()
    first_ms: float = 0
    p50_ms: float | None = None
    error: str = ""


class Report(Document):
    """Ends with the first run that failed. `error`: the pipeline cannot be built."""

    runs: tuple[Run, ...] = ()
    error: str = ""


def main() -> None:
    path = Path(sys.argv[1])
    job = Job.model_validate_json(path.read_bytes())
    path.with_name(REPORT).write_text(report_of(job).model_dump_json())


def report_of(job: Job) -> Report:
    try:
        pipeline = _built(job)
    except Exception as error:  # noqa: BLE001 - whatever DALI says is the finding
        return Report(error=gist_of(error))
    runs: list[Run] = []
    for number, files in enumerate(job.samples):
        sample = {name: np.load(file, allow_pickle=False) for name, file in files.items()}
        for batch in job.batches:
            # One that gave many responses to a request would go on with them.
            used = _built(job) if job.decoupled and runs else pipeline
            runs.append(_tried(used, sample, number, batch, decoupled=job.decoupled))
            if runs[-1].error:
                return Report(runs=tuple(runs))
    return Report(runs=tuple(runs))


def _built(job: Job) -> Any:
    """One pipeline for all batches, as the server has it."""
    from nvidia.dali import Pipeline, plugin_manager  # noqa: PLC0415 - not in every image

    for plugin in job.plugins:
        plugin_manager.load_library(plugin)
    settings: dict[str, Any] = {} if job.decoupled else {"batch_size": max(job.batches)}
    if job.gpu:
        settings["device_id"] = 0
    return Pipeline.deserialize(
        Path(job.pipeline).read_bytes(), num_threads=job.threads, prefetch_queue_depth=1, **settings
    )


def _tried(pipeline: Any, sample: dict[str, Any], number: int, batch: int, *, decoupled: bool) -> Run:
    try:
        return _run(pipeline, sample, number, batch, decoupled=decoupled)
    except Exception as error:  # noqa: BLE001 - whatever DALI says is the finding
        return Run(sample=number, batch=batch, error=gist_of(error))


def _run(pipeline: Any, sample: dict[str, Any], number: int, batch: int, *, decoupled: bool) -> Run:
    rounds, first = _answered(pipeline, sample, batch)
    while decoupled and len(rounds) < MAX_ROUNDS:
        outputs = following(pipeline)
        if outputs is None:
            break
        rounds.append(_on_cpu(outputs))
    times = [] if decoupled else [_answered(pipeline, sample, batch)[1] for _ in range(TIMED)]
    return Run(
        sample=number,
        batch=batch,
        outputs=tuple(_seen(responses) for responses in zip(*rounds, strict=True)),
        first_ms=first,
        p50_ms=round(median(times), 3) if times else None,
    )


def _answered(pipeline: Any, sample: dict[str, Any], batch: int) -> tuple[list[list[Any]], float]:
    """The outputs of one request, in a list of one round, and milliseconds."""
    began = time.perf_counter()
    for name, value in sample.items():
        pipeline.feed_input(name, [value] * batch)
    outputs = _on_cpu(pipeline.run())
    return [outputs], round((time.perf_counter() - began) * 1000, 3)


def _on_cpu(outputs: Sequence[Any]) -> list[Any]:
    return [output.as_cpu() if hasattr(output, "as_cpu") else output for output in outputs]


def _seen(responses: Sequence[Any]) -> Seen:
    """One output in all responses of a request."""
    return Seen(
        dtype=int(responses[0].dtype),
        shapes=tuple(sorted(set().union(*map(shapes_of, responses)))),
        uneven=any(len(shapes_of(response)) > 1 for response in responses),
        finite=all(_is_finite(response) for response in responses),
    )


def _is_finite(response: Any) -> bool:
    items = (np.asarray(response.at(index)) for index in range(len(response)))
    return all(bool(np.isfinite(item).all()) for item in items)


if __name__ == "__main__":
    main()
