"""CPU time per image of a server pod, beside DALI and ONNX Runtime alone in the same container.

    uv run python -m tests.bench.cpu        prints the table

Needs the cluster with images and operator. Photographs of 640 x 480, one a request, one request after the
other; both take one thread for the network and as many for DALI. The server's CPU time is that of the
container's cgroup: the request's way through the server is in it, the client is not.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc

from tests.bench.bench import make_namespace
from tests.e2e import live

ROOT = Path(__file__).resolve().parents[2]
TURNS = 5
IMAGES = 64
THREADS = 2
_ALONE = """
import glob, json, sys, time
import numpy as np, onnxruntime
from nvidia.dali.pipeline import Pipeline
images = [np.fromfile(path, np.uint8) for path in sorted(glob.glob("/tmp/images/*.jpg"))]
models = "/models-volume/models/"
pipeline = Pipeline.deserialize(filename=models + "preprocess/1/model.dali", batch_size=1,
    num_threads=int(sys.argv[1]), device_id=None, prefetch_queue_depth=1)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(models + "classifier/1/model.onnx", options)
name = session.get_inputs()[0].name
def run(image):
    pixels = pipeline.run(encoded=[image])[0]
    return session.run(None, {name: np.asarray(pixels.as_tensor())})
for image in images[:4]:
    run(image)
began, seconds = time.process_time(), []
for image in images:
    asked = time.perf_counter()
    run(image)
    seconds.append(time.perf_counter() - asked)
cpu = (time.process_time() - began) / len(images)
print(json.dumps({"cpu": cpu, "p50": sorted(seconds)[len(seconds) // 2]}))
"""
_UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/tmp/images')"
_USED = (
    "import os; v2 = '/sys/fs/cgroup/cpu.stat'; v1 = '/sys/fs/cgroup/cpuacct/cpuacct.usage'; "
    "print(int(open(v2).read().split()[1]) / 1e6 if os.path.exists(v2) else int(open(v1).read()) / 1e9)"
)
Figures = dict[str, float]


def main() -> None:
    space = make_namespace()
    try:
        _report(space)
    finally:
        live.kubectl("delete", "namespace", space.name, "--wait=false")


def _report(space: live.Namespace) -> None:
    images = _images()
    ensemble = space.apply("photographs", _models(space))
    ensemble.wait()
    pod = space.items("pods", "ensembles.dev/ensemble=photographs")
    server = next(each["metadata"]["name"] for each in pod if _serves(each))
    _give(space, server, images)
    rows: dict[str, list[Figures]] = {"server": [], "alone": []}
    with ensemble.grpc() as client:
        _ask(client, images[:4])
        for _ in range(TURNS):
            before = _used(space, server)
            seconds = _ask(client, images)
            used = (_used(space, server) - before) / len(images)
            rows["server"].append({"cpu": used, "p50": statistics.median(seconds)})
            rows["alone"].append(json.loads(_python(space, server, _ALONE, str(THREADS))))
    print(f"Milliseconds per image, median of {TURNS} (least to most):\n")
    print("| | CPU time | p50 |\n|---|---|---|")
    for name, runs in rows.items():
        print(f"| {name} | {_spread(runs, 'cpu')} | {_spread(runs, 'p50')} |")
    for key in ("cpu", "p50"):
        ratios = [a[key] / b[key] for a, b in zip(rows["server"], rows["alone"], strict=True)]
        print(f"\nserver / alone, {key}, pair by pair: {statistics.median(ratios):.2f}")


def _spread(runs: list[Figures], key: str) -> str:
    values = [run[key] * 1000 for run in runs]
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _models(space: live.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, ROOT / "examples/efficientnet/prepare.py", folder], check=True)
        files = {name: (Path(folder) / name).read_bytes() for name in ("pipeline.py", "model.onnx")}
    uris = {name: space.put(name, content) for name, content in files.items()}
    dali = {
        "source": {"uri": uris["pipeline.py"]},
        "args": {"device": "cpu", "crop": 224, "shorter_side": 256},
        "threads": THREADS,
    }
    return [
        {"name": "preprocess", "maxBatchSize": 8, "dali": dali},
        {"name": "classifier", "maxBatchSize": 8, "onnxruntime": {"source": {"uri": uris["model.onnx"]}}},
        {"name": "all", "ensemble": {"chain": ["preprocess", "classifier"]}},
    ]


def _images() -> list[bytes]:
    """The first of those that throughput on a GPU is measured with."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "photographs.tar"
        program = (
            "import sys; sys.path[:0] = ['tests/gpu', 'examples']; from pathlib import Path; "
            "from gpubundle import photographs; photographs.write(photographs.originals(), Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", program, target], check=True, cwd=ROOT)
        with tarfile.open(target) as archive:
            files = [archive.extractfile(name) for name in archive.getnames()[:IMAGES]]
            return [file.read() for file in files if file]


def _give(space: live.Namespace, pod: str, images: list[bytes]) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number, image in enumerate(images):
            entry = tarfile.TarInfo(f"{number:03}.jpg")
            entry.size = len(image)
            archive.addfile(entry, io.BytesIO(image))
    command = ("kubectl", "-n", space.name, "exec", "-i", pod, "-c", "tritonserver", "--", "python3", "-c")
    subprocess.run([*command, _UNPACK], input=content.getvalue(), check=True, env=live.environment())


def _ask(client: tritonclient.grpc.InferenceServerClient, images: list[bytes]) -> list[float]:
    seconds = []
    for image in images:
        tensor = tritonclient.grpc.InferInput("encoded", [1, len(image)], "UINT8")
        tensor.set_data_from_numpy(np.frombuffer(image, np.uint8)[np.newaxis])
        began = time.perf_counter()
        client.infer("all", [tensor])
        seconds.append(time.perf_counter() - began)
    return seconds


def _used(space: live.Namespace, pod: str) -> float:
    return float(_python(space, pod, _USED))


def _python(space: live.Namespace, pod: str, program: str, *arguments: str) -> str:
    return space.kubectl("exec", pod, "-c", "tritonserver", "--", "python3", "-c", program, *arguments)


def _serves(pod: dict[str, Any]) -> bool:
    return any(each["name"] == "tritonserver" for each in pod["spec"]["containers"])


if __name__ == "__main__":
    main()
