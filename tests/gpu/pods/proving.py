"""Runs in the builder's image on a GPU: engines and a pipeline are proven there, a build is stopped half way.

`proving.py [MODEL.onnx]`; prints one line of JSON for each check, and ends with 1 where one failed. The model
(by default one made here) is built cold, with a warm timing cache, and after a SIGTERM at half time.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from trial import Result, Tensor, built, command, cropping, model_of, prepare
from trial import build as tried

from ensemble_builder.compilers.dali.media import png

STOPPED = 128 + signal.SIGTERM
LARGEST = 16
"""Batch of the builds here."""
PIPELINE = """
from nvidia.dali import fn, pipeline_def, types


@pipeline_def
def pipe():
    image = fn.decoders.image(fn.external_source(name="ENCODED", dtype=types.UINT8, ndim=1), device="mixed")
    return fn.crop_mirror_normalize(fn.resize(image, size=[224, 224]), dtype=types.FLOAT, output_layout="CHW")
"""


def network(layers: int = 2, *, size: int = 56) -> bytes:
    """x → Conv, Relu, … → Softmax → y and ArgMax → best; widths differ, so that no layer is timed twice."""
    random = np.random.default_rng(0)
    nodes, weights, last, width = [], [], "x", 3
    for index in range(layers):
        wider = 32 + 8 * index
        kernel = random.normal(0, 1 / (3 * width**0.5), (wider, width, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last, width = f"r{index}", wider
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Softmax", ["flat"], ["y"], axis=1))
    nodes.append(helper.make_node("ArgMax", ["flat"], ["best"], axis=1, keepdims=0))
    outputs: list[Tensor] = [("y", TensorProto.FLOAT, ["n", width]), ("best", TensorProto.INT64, ["n"])]
    return model_of(nodes, [("x", TensorProto.FLOAT, ["n", 3, size, size])], outputs, weights)


def selecting() -> bytes:
    """rows: where x is positive; as many as there are."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("NonZero", ["y"], ["rows"])]
    outputs: list[Tensor] = [("y", TensorProto.FLOAT, [4, 16]), ("rows", TensorProto.INT64, [2, "m"])]
    return model_of(nodes, [("x", TensorProto.FLOAT, [4, 16])], outputs, [])


def build(model: bytes, settings: Result | None = None, **parameters: Any) -> Result:
    """The result of a build in half precision with its proof."""
    return tried(model, settings or {}, **{"precision": "fp16", "max_batch_size": LARGEST, **parameters})


def proven_again(model: bytes) -> Result:
    """Built, then only proven, as after a change of the settings."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work, model, {}, precision="fp16", max_batch_size=LARGEST)
        first = built(work)
        (work / "built").mkdir()
        (work / "out" / "model.plan").rename(work / "built" / "model.plan")
        plan = {"path": "model.plan", "sha256": "2" * 64, "size": 1}
        record = {"contract": 1, "kind": "tensorrt", "key": "0" * 64, "files": [plan], "io": first["io"]}
        (work / "record.json").write_text(json.dumps(record))
        return built(work)


def pipeline_proven() -> Result:
    """A pipeline with GPU operators: compiled, then proven on a photograph's worth of numbers."""
    order: Result = {
        "kind": "dali",
        "key": "0" * 64,
        "model": "pre",
        "version": 1,
        "field": "spec.models[0].dali",
        "inputs": [],
        "parameters": {"max_batch_size": LARGEST},
    }
    samples = [{"inputs": [{"name": "ENCODED", "file": "photograph.png"}]}]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "in").mkdir()
        (work / "in" / "pipeline.py").write_text(PIPELINE)
        (work / "in" / "photograph.png").write_bytes(png(640, 480))
        (work / "order.json").write_text(json.dumps(order))
        first = built(work)
        (work / "built").mkdir()
        (work / "out" / "model.dali").rename(work / "built" / "model.dali")
        file = {"path": "model.dali", "sha256": "2" * 64, "size": 1}
        record = {"contract": 1, "kind": "dali", "key": "0" * 64, "files": [file], "io": first["io"]}
        (work / "record.json").write_text(json.dumps(record))
        proof = {"key": "1" * 64, "settings": {"samples": samples}}
        (work / "order.json").write_text(json.dumps({**order, "proof": proof}))
        return built(work)


def stopped(model: bytes) -> Result:
    """Build times: cold, warm, and after a build that was stopped at half of the cold one's time."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm, half, again = (Path(folder, name) for name in ("cold", "warm", "half", "again"))
        for work in (cold, warm, half, again):
            prepare(work, model, {"reference": "None"}, precision="fp16", max_batch_size=LARGEST)
        found: Result = {"cold": _seconds(built(cold))}
        _give(cold, warm)
        found["warm"] = _seconds(built(warm))
        with subprocess.Popen(command(half), stdout=subprocess.PIPE, text=True) as process:
            found["stopped_at"] = _reached(process, found["cold"] / 2)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            found["status"] = process.wait(120)
            found["ended_after"] = round(time.monotonic() - began, 1)
        found["result"] = (half / "out" / "result.json").exists()
        found["cache"] = (half / "out" / "timing.cache").exists()
        if found["cache"]:
            found["cache_bytes"] = (half / "out" / "timing.cache").stat().st_size
            found["whole_cache_bytes"] = (cold / "out" / "timing.cache").stat().st_size
            _give(half, again)
        result = built(again)
        found["after_stop"] = _seconds(result)
        found["warnings"] = result.get("provenance", {}).get("warnings")
        return found


def _reached(process: "subprocess.Popen[str]", seconds: float) -> Result:
    """The first progress that a build tells after as many seconds; what it says is copied."""
    for line in process.stdout or ():
        sys.stderr.write(line)
        begin = line.find('{"progress"')
        if begin >= 0:
            found: Result = json.loads(line[begin:])
            if found["seconds"] >= seconds:
                return found
    raise RuntimeError("the build ended before it could be stopped")


def _give(earlier: Path, later: Path) -> None:
    folder = later / "timing-caches"
    folder.mkdir()
    shutil.copy(earlier / "out" / "timing.cache", folder / ("a" * 64))
    (folder / ("d" * 64)).write_bytes(b"damaged " * 100)


def _seconds(result: Result) -> float:
    return float(result["provenance"]["seconds"])


def verdict(result: Result) -> str:
    return str(result["proof"]["verdict"])


def rows(result: Result) -> list[Result]:
    found: list[Result] = result["proof"]["report"]["table"]
    return found


def batches(result: Result) -> set[int]:
    return {row["batch"] for row in rows(result)}


Check = tuple[Callable[[], Result], Callable[[Result], bool]]


def checks(model: bytes) -> dict[str, Check]:
    return {
        "a good engine passes": (
            lambda: build(network()),
            lambda result: (
                verdict(result) == "Passed" and {row["batch"] for row in rows(result)} == {1, LARGEST}
            ),
        ),
        "one that is too far off is refused": (
            lambda: build(network(), {"relative_l2": 1e-6}),
            lambda result: result["fault"]["code"] == "AccuracyOutOfTolerance",
        ),
        "only proven": (
            lambda: proven_again(network()),
            lambda result: verdict(result) == "Passed" and "files" not in result,
        ),
        "a pipeline with GPU operators": (
            pipeline_proven,
            lambda result: (
                verdict(result) == "Passed"
                and "on the GPU" in result["proof"]["summary"]
                and {run["batch"] for run in result["proof"]["report"]["runs"]} == {1, LARGEST}
            ),
        ),
        "outputs whose size hangs on their values": (
            lambda: build(selecting(), max_batch_size=0, precision="fp32"),
            lambda result: verdict(result) == "Passed" and len(rows(result)) == 4,
        ),
        "a shape tensor": (
            lambda: build(
                cropping(),
                max_batch_size=0,
                precision="fp32",
                profiles=[{"values": [{"name": "size", "min": [1], "opt": [32], "max": [64]}]}],
            ),
            lambda result: verdict(result) == "Passed",
        ),
        "stopped half way": (
            lambda: stopped(model),
            lambda result: (
                result["status"] == STOPPED
                and not result["result"]
                and result["cache"]
                and result["after_stop"] * 2 <= result["cold"]
            ),
        ),
    }


def main() -> int:
    model = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else network(24, size=112)
    failed = 0
    for name, (make, holds) in checks(model).items():
        began = time.monotonic()
        result: Result = {}
        try:
            result = make()
            passed = bool(holds(result))
        except (KeyError, TypeError, OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            result, passed = {**result, "error": repr(error)}, False
        failed += not passed
        kept = {key: value for key, value in result.items() if key not in {"io", "files", "provenance"}}
        line = {"check": name, "passed": passed, "took": round(time.monotonic() - began, 1), **kept}
        print("figure", json.dumps(line), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
