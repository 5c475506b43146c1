"""Changes with a single GPU: a server gives it up for its successor's build; a build is evicted."""

from __future__ import annotations

import json
from typing import Any

from gpumachine import scenario
from gpumachine.ensembles import NAMESPACE, Kind, Watch, document
from gpumachine.shell import Machine, RunError, eventually

Figures = dict[str, Any]
_CACHED_SECONDS, _BUILD_SECONDS = 120.0, 400.0
_EVICTED_AT = 50
"""Percent of the build's progress."""
_UUID = """
import ctypes
cuda, uuid, device = ctypes.CDLL("libcuda.so.1"), (ctypes.c_ubyte * 16)(), ctypes.c_int()
cuda.cuInit(0), cuda.cuDeviceGet(ctypes.byref(device), 0), cuda.cuDeviceGetUuid_v2(uuid, device)
print(bytes(uuid).hex())
"""


def giving_way(here: Machine, kind: Kind) -> Figures:
    """The ensemble's own server holds the only GPU, another engine is wanted: whenGPUBusy StopServing.

    Raises:
        RunError: the successor does not serve, or the change was never seen waiting for the GPU.
    """
    name = "change"
    with Watch(here, document(name, kind)) as watch:
        watch.ready(seconds=_CACHED_SECONDS)
    wanted = document(name, kind, largest=32, gives_way=True)
    with Watch(here, wanted) as watch:
        message = watch.reason("WaitingForGPU", seconds=60)
        seconds = watch.ready(seconds=_BUILD_SECONDS)
        answer = scenario.infer(here, name)
    found = {"message": message, "ready_seconds": seconds, "answer": answer, **scenario.seen(watch)}
    scenario.delete(here, name)
    scenario.free(here)
    return found


def evicted(here: Machine, kind: Kind) -> Figures:
    """The run's own engine anew, evicted half way: what was measured is kept, the next attempt ends sooner.

    Raises:
        RunError: the ensemble does not become Ready.
    """
    name = "evicted"
    cold = _provenance(here)
    scenario.forget(here, "artifacts/tensorrt/", "timing-caches/")
    with Watch(here, document(name, kind)) as watch:
        pod = eventually(lambda: _building(here), seconds=60, what=lambda: f"a build runs: {watch.story()}")
        progress = eventually(
            lambda: _half_done(here, pod), seconds=_BUILD_SECONDS, what=lambda: f"{pod} gets half way"
        )
        uuids = [_uuid(here, pod)]
        _evict(here, pod)
        kept = eventually(lambda: _kept(here, pod), seconds=70, what=lambda: f"{pod} saves its timing cache")
        second = eventually(
            lambda: _building(here, other_than=pod), seconds=90, what=lambda: f"{pod} has a successor"
        )
        uuids.append(_uuid(here, second))
        told = eventually(lambda: _at_work(here, second), seconds=60, what=lambda: f"{second} begins")
        seconds = watch.ready(seconds=_BUILD_SECONDS)
    warm = _provenance(here)
    scenario.delete(here, name)
    scenario.free(here)
    return {
        "evicted_at": progress,
        "kept": kept,
        "gpu_uuids": uuids,
        "second_attempt_log": told,
        "ready_seconds": seconds,
        "cold_seconds": cold["seconds"],
        "second_attempt": {key: warm.get(key) for key in ("seconds", "warnings", "layers")},
        **scenario.seen(watch),
    }


def _building(here: Machine, *, other_than: str = "") -> str | None:
    """The pod whose compiler runs on the GPU."""
    for pod in here.get("pods", "-n", NAMESPACE)["items"]:
        statuses = pod.get("status", {}).get("initContainerStatuses", [])
        compiles = any(each["name"] == "compile" and "running" in each["state"] for each in statuses)
        name = str(pod["metadata"]["name"])
        if compiles and scenario.requests_gpu(pod["spec"]) and name != other_than:
            return name
    return None


def _uuid(here: Machine, pod: str) -> str:
    """The GPU's UUID as a build's container sees it, which TensorRT compares with a timing cache's."""
    command = ("-n", NAMESPACE, "exec", pod, "-c", "compile", "--", "python", "-c", _UUID)
    return here.kubectl(*command, check=False).strip()


def _at_work(here: Machine, pod: str) -> list[str] | None:
    """What a build said until it first told its progress: what it thinks of its timing caches, too."""
    log = here.kubectl("-n", NAMESPACE, "logs", pod, "-c", "compile", check=False).splitlines()
    begun = next((number for number, line in enumerate(log) if '{"progress"' in line), None)
    return None if begun is None else log[: begun + 1]


def _half_done(here: Machine, pod: str) -> Figures | None:
    log = here.kubectl("-n", NAMESPACE, "logs", pod, "-c", "compile", check=False)
    for line in log.splitlines():
        begin = line.find('{"progress"')
        if begin >= 0:
            found: Figures = json.loads(line[begin:])
            if found["progress"] >= _EVICTED_AT:
                return found
    return None


def _evict(here: Machine, pod: str) -> None:
    metadata = {"name": pod, "namespace": NAMESPACE}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    here.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body).encode())


def _kept(here: Machine, pod: str) -> str | None:
    """The line of the container that saves the timing cache."""
    log = here.kubectl("-n", NAMESPACE, "logs", pod, "-c", "keep", check=False)
    return next((line for line in log.splitlines() if "kept the timing cache" in line), None)


def _provenance(here: Machine) -> Figures:
    """Of the only engine in storage that the run's ensemble asks for."""
    for document_ in scenario.stored(here).values():
        provenance = document_.get("provenance") or {}
        if document_.get("kind") == "tensorrt" and provenance.get("precision") == "fp16":
            return dict(provenance)
    raise RunError("storage has no engine in half precision")
