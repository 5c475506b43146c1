"""Seconds from apply to the first answer by stage, beside the cluster's floor; transfer rates beside s5cmd.

    make bench          prints the tables

Needs the cluster with images and operator (`make images`, and one run of the end-to-end tests or the demo).
The floor is what no operator can beat: one trivial Job of the tools image, then the very Deployment that the
operator made, created by hand.
"""

from __future__ import annotations

import copy
import statistics
import time
import uuid
from typing import Any

import numpy as np
import tritonclient.http
import yaml

from tests.bench import transfers
from tests.e2e import live
from tests.e2e.models import affine_onnx

PIPELINE = """
from nvidia.dali import fn, pipeline_def, types

@pipeline_def
def scale():
    data = fn.external_source(name="RAW", dtype=types.FLOAT, ndim=1)
    return fn.reshape(data * 1.0, shape=[4])
"""
ROUNDS = 3
STAGES = ("Assembled", "Built", "Published", "Verified", "Ready")


def main() -> None:
    live.kubectl("version")
    space = make_namespace()
    try:
        _report(space)
    finally:
        live.kubectl("delete", "namespace", space.name, "--wait=false")


def make_namespace() -> live.Namespace:
    """A namespace of a new name, with the Secret of the tests' storage."""
    space = live.Namespace(f"bench-{uuid.uuid4().hex[:5]}", live.s3_client())
    live.kubectl("create", "namespace", space.name)
    space.kubectl(
        *("create", "secret", "generic", "model-storage"),
        f"--from-literal=AWS_ACCESS_KEY_ID={live.KEYS[0]}",
        f"--from-literal=AWS_SECRET_ACCESS_KEY={live.KEYS[1]}",
    )
    return space


def _report(space: live.Namespace) -> None:
    uri = space.put("net.onnx", affine_onnx())
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "cached": []}
    floors = []
    for turn in range(ROUNDS):
        pipeline = PIPELINE + f"# {uuid.uuid4()}\n"  # other bytes: nothing of it is cached
        rows["cold"].append(_apply(space, f"cold-{turn}", uri, pipeline))
        rows["cached"].append(_apply(space, f"cached-{turn}", uri, pipeline))
        floors.append(_floor(space, f"cached-{turn}"))
    print(f"Seconds from apply, median of {ROUNDS} (least to most):\n")
    print("| run | " + " | ".join([*STAGES, "first answer"]) + " |")
    print("|---|" + "---|" * (len(STAGES) + 1))
    for name, runs in rows.items():
        print(f"| {name} | " + " | ".join(_spread([run[key] for run in runs]) for key in runs[0]) + " |")
    print(f"| floor (Job + Deployment by hand) |{' |' * len(STAGES)} {_spread(floors)} |")
    ratio = statistics.median(
        run["answer"] / floor for run, floor in zip(rows["cached"], floors, strict=True)
    )
    print(f"\ncached / floor, pair by pair: median {ratio:.2f}\n")
    transfers.report(space)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _apply(space: live.Namespace, name: str, uri: str, pipeline: str) -> dict[str, float]:
    start = time.monotonic()
    ensemble = space.apply(
        name,
        [
            {"name": "pre", "maxBatchSize": 4, "dali": {"source": {"inline": pipeline}}},
            {"name": "net", "maxBatchSize": 4, "onnxruntime": {"source": {"uri": uri}}},
            {"name": "all", "ensemble": {"chain": ["pre", "net"]}},
        ],
    )
    seen: dict[str, float] = {}
    while len(seen) < len(STAGES):
        conditions = ensemble.status.get("conditions", [])
        for condition in conditions:
            if condition["status"] == "True" and condition["type"] in STAGES:
                seen.setdefault(condition["type"], time.monotonic() - start)
        if any(c["type"] == "Stalled" for c in conditions):
            raise SystemExit(ensemble.describe())
        time.sleep(0.1)
    ensemble.infer("all", {"RAW": np.ones((1, 4), np.float32)})
    return {**{stage: seen[stage] for stage in STAGES}, "answer": time.monotonic() - start}


def _floor(space: live.Namespace, name: str) -> float:
    """One trivial Job, then a copy of the ensemble's Deployment and its first answer."""
    deployment = space.items("deployments", f"ensembles.dev/ensemble={name}")[0]
    copied = _copy_of(deployment)
    start = time.monotonic()
    space.kubectl("apply", "-f", "-", text=yaml.safe_dump(_trivial_job(deployment)))
    space.kubectl("wait", "job/floor", "--for=condition=complete", "--timeout=300s")
    space.kubectl("apply", "-f", "-", text=yaml.safe_dump(copied))
    space.kubectl("rollout", "status", "deployment/floor", "--timeout=300s")
    pod = space.items("pods", "bench=floor")[0]
    _until_answered(f"{pod['status']['podIP']}:8000")
    seconds = time.monotonic() - start
    space.kubectl("delete", "job/floor", "deployment/floor", "--wait=true")
    return seconds


def _until_answered(address: str) -> None:
    with tritonclient.http.InferenceServerClient(address) as client:
        tensor = tritonclient.http.InferInput("RAW", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
        client.infer("all", [tensor])


def _trivial_job(deployment: dict[str, Any]) -> dict[str, Any]:
    fetch = copy.deepcopy(deployment["spec"]["template"]["spec"]["initContainers"][0])
    fetch.update({"command": ["ensemble-builder", "--help"], "args": [], "env": [], "volumeMounts": []})
    pod = {"restartPolicy": "Never", "containers": [fetch]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "floor"},
        "spec": {"template": {"metadata": {"labels": {"bench": "job"}}, "spec": pod}},
    }


def _copy_of(deployment: dict[str, Any]) -> dict[str, Any]:
    spec = copy.deepcopy(deployment["spec"])
    spec["selector"] = {"matchLabels": {"bench": "floor"}}
    spec["template"]["metadata"] = {"labels": {"bench": "floor"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "floor"}, "spec": spec}


if __name__ == "__main__":
    main()
