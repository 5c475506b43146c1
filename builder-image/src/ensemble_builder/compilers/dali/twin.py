"""Runs a pipeline on the CPU with samples and reports what comes out.

    python -m ensemble_builder.compilers.dali.twin JOB

JOB is a JSON file (`Job`); outcome.json (`Outcome`) is written beside it. A process of its own: DALI's
operators are native code, and odd input may end the process.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_builder.compilers.dali.serialized import SOURCE_NAME
from ensembles_api.contract import Document

MAX_ROUNDS = 256
"""Responses of one request to a decoupled pipeline that are looked at."""


class Job(Document):
    """`samples`: for each, the .npy file of each input. `decoupled`: a sample gives several responses.
    `plugins`: shared libraries with operators.
    """

    pipeline: str
    samples: tuple[dict[str, str], ...]
    decoupled: bool = False
    plugins: tuple[str, ...] = ()


class Observed(Document):
    """One output of one sample: DALI's type number, and every shape seen (without batch axis).

    `uneven`: a response held different shapes, which Triton cannot pass on.
    """

    dtype: int
    shapes: tuple[tuple[int, ...], ...]
    uneven: bool = False


class SampleOutcome(Document):
    outputs: tuple[Observed, ...] = ()
    error: str = ""


class Outcome(Document):
    """`error`: the pipeline cannot be built on the CPU; then there are no samples."""

    samples: tuple[SampleOutcome, ...] = ()
    error: str = ""


def main() -> None:
    path = Path(sys.argv[1])
    job = Job.model_validate_json(path.read_bytes())
    path.with_name("outcome.json").write_text(_outcome(job).model_dump_json())


def _outcome(job: Job) -> Outcome:
    try:
        _build(job)
    except Exception as error:  # noqa: BLE001 - whatever DALI says is the finding
        return Outcome(error=gist_of(error))
    return Outcome(samples=tuple(_run(job, files) for files in job.samples))


def _build(job: Job) -> Any:
    from nvidia.dali import Pipeline, plugin_manager  # noqa: PLC0415 - not in every image

    for plugin in job.plugins:
        plugin_manager.load_library(plugin)
    batch = {} if job.decoupled else {"batch_size": 1}
    return Pipeline.deserialize(
        Path(job.pipeline).read_bytes(), num_threads=1, prefetch_queue_depth=1, **batch
    )


def _run(job: Job, files: dict[str, str]) -> SampleOutcome:
    # A fresh pipeline for each sample: one that failed stays unusable.
    try:
        pipeline = _build(job)
        for name, file in files.items():
            pipeline.feed_input(name, [np.load(file, allow_pickle=False)])
        rounds = [pipeline.run()]
    except Exception as error:  # noqa: BLE001 - whatever DALI says is the finding
        return SampleOutcome(error=gist_of(error))
    while job.decoupled and len(rounds) < MAX_ROUNDS:
        outputs = following(pipeline)
        if outputs is None:
            break
        rounds.append(outputs)
    return SampleOutcome(
        outputs=tuple(
            Observed(
                dtype=int(outputs[0].dtype),
                shapes=tuple(sorted(set().union(*map(shapes_of, outputs)))),
                uneven=any(len(shapes_of(output)) > 1 for output in outputs),
            )
            for outputs in zip(*rounds, strict=True)
        )
    )


def following(pipeline: Any) -> Any:
    """The next response, None where the input is used up (which DALI says by an error)."""
    try:
        return pipeline.run()
    except Exception:  # noqa: BLE001 - no error type of its own
        return None


def shapes_of(output: Any) -> set[tuple[int, ...]]:
    return {tuple(int(size) for size in shape) for shape in output.shape()}


_OPERATOR = re.compile(r"Error in \w+ operator `([^`]+)`")
_LINE = re.compile(rf'File "{re.escape(SOURCE_NAME)}", line (\d+), in \S+\s+(.+)')
_GIST = re.compile(r"encountered:\s+(.*?)(?:\s+C\+\+ context:|\s+Current pipeline object|\Z)", re.DOTALL)


def gist_of(error: Exception) -> str:
    """DALI's error without its frame: `line 9 `…`: operator: what happened`."""
    text = str(error)
    lines, operator, gist = _LINE.findall(text), _OPERATOR.search(text), _GIST.search(text)
    where = f"line {lines[-1][0]} `{lines[-1][1].strip()}`: " if lines else ""
    who = f"{operator[1]}: " if operator else ""
    return where + who + " ".join((gist[1] if gist else text).split())[:600]


if __name__ == "__main__":
    main()
