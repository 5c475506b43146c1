"""Images a second: the ensemble beside DALI and TensorRT alone, and beside a server that computes nothing."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gpumachine import scenario
from gpumachine.ensembles import ENTRYPOINT, NAMESPACE, SOURCES, TACTICS, Watch, envelope, member_parameters
from gpumachine.places import EXAMPLE, PHOTOGRAPHS
from gpumachine.shell import Machine, RunError

NAME = "throughput"
BATCHES = (1, 4, 16, 32, 64, 128)
DALI_THREADS = 8
"""alone.py takes as many."""
WAYS: Mapping[str, str] = {
    "A": "DALI alone",
    "B": "TensorRT alone",
    "C1": "A to B, one process",
    "C2": "A to B, two processes",
    "T": "server, ensemble and client with models that do nothing",
    "E": "the ensemble",
}
_NOTHING = "nothing"
_LARGEST = BATCHES[-1]
_READY_SECONDS = 240.0
_IMAGES = "/tmp/images"  # noqa: S108 - of the container
_UNPACK = f"import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('{_IMAGES}')"
_PROGRAM = "/tmp/alone.py"  # noqa: S108 - of the container
_STORE = f"import sys; open('{_PROGRAM}', 'wb').write(sys.stdin.buffer.read())"
_REPOSITORY = "/models-volume/models"
"""Where tritonserver reads its models."""
_SAMPLE_SECONDS = 1.0

Json = dict[str, Any]
Figure = dict[str, Any]


def document() -> Json:
    """EfficientNet, batches up to 128 that the server does not join, and idle models of the same shapes."""
    sources = {"preprocess": f"{SOURCES}/pipeline.py", "classifier": f"{SOURCES}/model.onnx"}
    alone = {"maxBatchSize": _LARGEST, "autoComplete": "Declared", "config": member_parameters(on_gpu=True)}
    return envelope(
        NAME,
        [
            {
                "name": "preprocess",
                **alone,
                "dali": {
                    "source": {"uri": sources["preprocess"]},
                    "args": {"device": "mixed", "crop": 224, "shorter_side": 256},
                    "threads": DALI_THREADS,
                },
            },
            {
                "name": "classifier",
                **alone,
                "tensorrt": {
                    "source": {"uri": sources["classifier"]},
                    "precision": "fp16",
                    "optBatchSize": 64,
                    "builder": {"tacticSources": TACTICS},
                },
            },
            {"name": ENTRYPOINT, "ensemble": {"chain": ["preprocess", "classifier"]}},
            _idle("idle_preprocess", ("encoded", "TYPE_UINT8", [-1]), ("image", "TYPE_FP32", [3, 224, 224])),
            _idle(
                "idle_classifier",
                ("image", "TYPE_FP32", [3, 224, 224]),
                ("probabilities", "TYPE_FP32", [1000]),
            ),
            {"name": _NOTHING, "ensemble": {"chain": ["idle_preprocess", "idle_classifier"]}},
        ],
        entrypoint=ENTRYPOINT,
    )


def _idle(name: str, source: tuple[str, str, list[int]], result: tuple[str, str, list[int]]) -> Json:
    fields = ("name", "data_type", "dims")
    return {
        "name": name,
        "maxBatchSize": _LARGEST,
        "autoComplete": "Declared",
        "python": {"source": {"uri": f"{SOURCES}/idle/model.py"}},
        "config": {
            "input": [dict(zip(fields, source, strict=True))],
            "output": [dict(zip(fields, result, strict=True))],
            "instance_group": [{"kind": "KIND_GPU", "count": 1}],
            **member_parameters(on_gpu=True),
        },
    }


def measure(here: Machine, *, turns: int, seconds: float, tell: Callable[[str], None]) -> Json:
    """Bring the ensemble up and measure everything in turns, on one GPU, the server running all the time.

    Args:
        here: the machine; the cluster is up and `scenario.prepare` was done.
        turns: how often all is measured.
        seconds: for which one way and batch size is.
        tell: is given a line now and then.

    Raises:
        RunError: the ensemble does not become Ready, or a measurement fails.
    """
    model = (here.repository / "tests/gpu/idle/model.py").read_bytes()
    scenario.upload(here, "idle/model.py", model)
    with Watch(here, document()) as watch:
        tell(f"Ready after {watch.ready(seconds=_READY_SECONDS):.1f} s")
    server = _server(here)
    images = (here.root / EXAMPLE / PHOTOGRAPHS).read_bytes()
    for pod in (server, "client"):
        _exec(here, pod, "python3", "-c", _UNPACK, stdin=images)
    figures: list[Figure] = []
    with _clocks() as clocks:
        for turn in range(turns):
            for way in WAYS:
                found = [{"turn": turn, "way": way, **figure} for figure in _one(here, server, way, seconds)]
                figures += found
                tell(f"{way}: " + ", ".join(f"{each['batch']}: {each['per_second']:,.0f}" for each in found))
    return {"figures": figures, "clocks": clocks, "turns": turns, "seconds": seconds}


def _one(here: Machine, server: str, way: str, seconds: float) -> Iterable[Figure]:
    batches = [str(batch) for batch in BATCHES]
    if way in {"T", "E"}:
        address = f"{NAME}.{NAMESPACE}.svc:8001"
        model = ENTRYPOINT if way == "E" else _NOTHING
        arguments = [address, model, _IMAGES, str(seconds), *batches]
        text = _exec(here, "client", "python", "/programs/load.py", *arguments)
    else:
        program = (here.repository / "tests/gpu/pods/alone.py").read_bytes()
        _exec(here, server, "python3", "-c", _STORE, stdin=program)
        arguments = [way, _REPOSITORY, _IMAGES, str(seconds), *batches]
        text = _exec(here, server, "python3", _PROGRAM, *arguments)
    lines = [line.removeprefix("figure ") for line in text.splitlines() if line.startswith("figure ")]
    found = [json.loads(line) for line in lines]
    failures = [failure for figure in found for failure in figure.pop("failures", ())]
    if failures or len(found) != len(BATCHES):
        raise RunError(f"{way}: {failures or text[-1500:]}")
    return found


def _server(here: Machine) -> str:
    pods = here.get("pods", "-n", NAMESPACE)["items"]
    names = [pod["metadata"]["name"] for pod in pods if _serves(pod)]
    if len(names) != 1:
        raise RunError(f"one server was expected, there are {names}")
    return str(names[0])


def _serves(pod: Json) -> bool:
    return any(container["name"] == "tritonserver" for container in pod["spec"]["containers"])


def _exec(here: Machine, pod: str, *command: str, stdin: bytes = b"") -> str:
    return here.kubectl("-n", NAMESPACE, "exec", "-i", pod, "--", *command, stdin=stdin)


@contextmanager
def _clocks() -> Iterator[list[Json]]:
    """What the GPU's clocks and load are once a second, while the block runs."""
    samples: list[Json] = []
    over = threading.Event()
    names = ("clocks.sm", "clocks.mem", "utilization.gpu", "power.draw")
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}{os.pathsep}/usr/local/nvidia/bin"}

    def look_on() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
            values = done.stdout.strip().split(", ")
            if done.returncode == 0 and len(values) == len(names):
                samples.append({"at": round(time.time(), 1), **dict(zip(names, values, strict=True))})

    thread = threading.Thread(target=look_on, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join(10)


def markdown(found: Mapping[str, Any]) -> str:
    """Median and range of each way and batch size, and the two ratios, as Markdown."""
    figures: Sequence[Figure] = found["figures"]
    table = [
        "| | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " |",
        "|---" * (len(BATCHES) + 1) + "|",
    ]
    for way, text in WAYS.items():
        table.append(
            f"| **{way}** {text} | " + " | ".join(_cell(_rates(figures, way, b)) for b in BATCHES) + " |"
        )
    table.append("| E / min(C2, T) | " + " | ".join(f"{_of(figures, b, _least):.2f}" for b in BATCHES) + " |")
    table.append("| E / C1 | " + " | ".join(f"{_of(figures, b, _one_process):.2f}" for b in BATCHES) + " |")
    clocks = sorted(int(sample["clocks.sm"]) for sample in found["clocks"])
    said = (
        f"SM clock {clocks[0]} to {clocks[-1]} MHz, median {statistics.median(clocks):.0f}" if clocks else ""
    )
    return "\n".join(table) + f"\n\nImages a second, median of {found['turns']} (least to most). {said}\n"


def _rates(figures: Sequence[Figure], way: str, batch: int) -> list[float]:
    return [figure["per_second"] for figure in figures if (figure["way"], figure["batch"]) == (way, batch)]


def _cell(rates: Sequence[float]) -> str:
    if not rates:
        return ""
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _of(figures: Sequence[Figure], batch: int, reference: Callable[[Mapping[str, float]], float]) -> float:
    """Median over the turns of E beside the reference of the same turn."""
    turns = sorted({figure["turn"] for figure in figures})
    ratios = []
    for turn in turns:
        rates = {
            figure["way"]: figure["per_second"]
            for figure in figures
            if (figure["turn"], figure["batch"]) == (turn, batch)
        }
        if rates.keys() >= WAYS.keys():
            ratios.append(rates["E"] / reference(rates))
    return statistics.median(ratios) if ratios else float("nan")


def _least(rates: Mapping[str, float]) -> float:
    return min(rates["C2"], rates["T"])


def _one_process(rates: Mapping[str, float]) -> float:
    return rates["C1"]
