"""The ensembles of the run, and what is seen of them while they come up."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gpumachine.shell import Machine, RunError, eventually

if TYPE_CHECKING:
    from typing_extensions import Self

NAMESPACE = "demo"
ENTRYPOINT = "efficientnet"
SOURCES = "s3://models/examples/efficientnet"
# The image of the tests has no cuBLAS and no cuDNN: TensorRT's own kernels alone.
TACTICS = ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Kind:
    """How the ensembles of a run are made.

    rehearsal: there is no GPU; ONNX Runtime takes TensorRT's place, on a node that claims to have one.
    relative_l2: tolerance of the engine's verification; None takes the product's.
    """

    rehearsal: bool = False
    relative_l2: float | None = None
    on_gpu: bool = True
    """Tensors stay on the GPU between the stand-in backends."""


def document(
    name: str, kind: Kind, *, precision: str = "fp16", largest: int = 64, gives_way: bool = False
) -> dict[str, Any]:
    """EfficientNet behind JPEG and PNG decoding on the GPU, batches of 1 to `largest`.

    gives_way: its servers end where a build of it waits for the GPU that they hold.
    """
    models = [
        {
            "name": "preprocess",
            "maxBatchSize": largest,
            "dali": {
                "source": {"uri": f"{SOURCES}/pipeline.py"},
                "args": {"device": "mixed", "crop": 224, "shorter_side": 256},
            },
            "config": member_parameters(on_gpu=kind.on_gpu),
        },
        {
            "name": "classifier",
            "maxBatchSize": largest,
            **_engine(precision, kind),
            "labels": [{"output": "probabilities", "source": {"uri": f"{SOURCES}/labels.txt"}}],
            "config": {
                "dynamic_batching": {"max_queue_delay_microseconds": 500},
                **member_parameters(on_gpu=kind.on_gpu),
            },
        },
        {"name": ENTRYPOINT, "ensemble": {"chain": ["preprocess", "classifier"]}},
    ]
    more: dict[str, Any] = {"build": {"whenGPUBusy": "StopServing"}} if gives_way else {}
    if kind.rehearsal:
        more["serving"] = {"targets": [{"name": "claimed", "gpu": {}}]}
    return envelope(name, models, **more)


def envelope(name: str, models: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The resource around these models; `more` are further fields of its spec."""
    storage = {"uri": "s3://models/store", "endpoint": "http://s3.s3.svc:7070", "secretName": "model-storage"}
    return {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"storage": storage, "models": models, **more},
    }


def member_parameters(*, on_gpu: bool) -> dict[str, Any]:
    """Whether the stand-in backends leave tensors on the GPU."""
    stays = "no" if on_gpu else "yes"
    return {"parameters": {"FORCE_CPU_ONLY_INPUT_TENSORS": {"string_value": stays}}}


def _engine(precision: str, kind: Kind) -> dict[str, Any]:
    source = {"source": {"uri": f"{SOURCES}/model.onnx"}}
    if kind.rehearsal:
        return {"onnxruntime": source}
    verification = {"verification": {"relativeL2": kind.relative_l2}} if kind.relative_l2 else {}
    return {
        "tensorrt": {
            **source,
            "precision": precision,
            "optBatchSize": 16,
            "builder": {"tacticSources": TACTICS},
            **verification,
        }
    }


@dataclass
class Seen:
    """What happened, by seconds since the resource was applied."""

    conditions: list[tuple[float, str]] = field(default_factory=list)
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    """The Jobs as they were first seen."""
    status: dict[str, Any] = field(default_factory=dict)


class Watch:
    """Applies an ensemble and notes what becomes of it, until the `with` block ends."""

    def __init__(self, here: Machine, wanted: dict[str, Any]) -> None:
        self.seen = Seen()
        self.name: str = wanted["metadata"]["name"]
        self._here = here
        self._wanted = wanted
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._here.apply(self._wanted)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def ready(self, *, seconds: float) -> float:
        """Seconds until the ensemble was Ready.

        Raises:
            RunError: it was not in time, or it is Stalled.
        """

        def look() -> float | None:
            conditions = self._conditions()
            if conditions.get("Stalled", {}).get("status") == "True":
                raise RunError(f"{self.name} is stalled: {self.story()}")
            return time.monotonic() - self._began if _is_true(conditions, "Ready") else None

        return eventually(look, seconds=seconds, what=lambda: f"{self.name} is Ready: {self.story()}")

    def reason(self, wanted: str, *, seconds: float) -> str:
        """The message of the first condition with this reason."""

        def look() -> str | None:
            found = [c for c in self._conditions().values() if c["reason"] == wanted]
            return str(found[0]["message"]) if found else None

        return eventually(look, seconds=seconds, what=lambda: f"{self.name} says {wanted}: {self.story()}")

    def story(self) -> str:
        return "; ".join(f"{when:.1f} s {what}" for when, what in self.seen.conditions[-6:])

    def _conditions(self) -> dict[str, Any]:
        status = self.seen.status
        return {condition["type"]: condition for condition in status.get("conditions", [])}

    def _look_on(self) -> None:
        while not self._over.is_set():
            try:
                self._look()
            except RunError:  # the API server may be slow for once
                continue
            self._over.wait(_LOOK_SECONDS)

    def _look(self) -> None:
        found = self._here.get("inferenceensemble,jobs,pods", "-n", NAMESPACE)["items"]
        now = round(time.monotonic() - self._began, 2)
        for item in found:
            if item["kind"] == "InferenceEnsemble" and item["metadata"]["name"] == self.name:
                self._note_status(item.get("status", {}), now)
            elif item["kind"] == "Job":
                self.seen.jobs.setdefault(item["metadata"]["name"], item)
            elif item["kind"] == "Pod":
                self._note_pod(item, now)

    def _note_status(self, status: dict[str, Any], now: float) -> None:
        before = {f"{c['type']}={c['status']} {c['reason']}" for c in self.seen.status.get("conditions", [])}
        for condition in status.get("conditions", []):
            line = f"{condition['type']}={condition['status']} {condition['reason']}"
            if line not in before:
                self.seen.conditions.append((now, f"{line}: {condition['message'][:300]}"))
        self.seen.status = status

    def _note_pod(self, pod: dict[str, Any], now: float) -> None:
        status = pod.get("status", {})
        for entry in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            record = self.seen.containers.setdefault(f"{pod['metadata']['name']}/{entry['name']}", {})
            for state in entry["state"]:
                record.setdefault(state, now)
            if entry.get("ready"):
                record.setdefault("ready", now)


def _is_true(conditions: dict[str, Any], kind: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == "True")
