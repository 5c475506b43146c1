"""An ensemble in the hands of GitOps tools, to its end: they wait for what is true, and see no drift.

Helm 4 applies and waits. What Argo CD, Flux and kstatus say is asked of their own code at every change of the
resource. With ENSEMBLES_RECORD set, what the cluster showed becomes Argo CD's test data in examples/gitops.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import live
from tests.e2e.models import affine_onnx
from tests.gitops import judges
from tests.gitops.judges import EXPECTED, Judges, Verdict

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.go, pytest.mark.timeout(1800)]

CHART = judges.EXAMPLES / "helm" / "ensemble"
MINUTES = 15
"""So long helm may wait, which no failure must use up."""

STALLED = re.compile(
    r"status: Failed, message: spec\.models\[0\]\.onnxruntime\.source: .* is not an ONNX file"
)
"""Helm's complaint about a wrong model: the ensemble's own words."""

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Release:
    """A release of the example chart with one ONNX model."""

    helm: str
    space: live.Namespace
    name: str

    @property
    def ensemble(self) -> live.Ensemble:
        return live.Ensemble(self.space, self.name)

    def upgrade(self, uri: str, *, suspend: bool = False, wait: bool = True) -> str:
        """`helm upgrade --install`; what it complains of, empty where it succeeds."""
        storage = {"uri": self.space.store, "endpoint": live.S3_SERVICE, "secretName": "model-storage"}
        values = {
            "suspend": suspend,
            "storage": storage,
            "models": [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}],
            "serving": {"resources": live.SMALL},
            "rollout": {"retainSeconds": 0, "watchSeconds": 0},
            "deletionPolicy": "Delete",
        }
        flags = ["--wait", f"--timeout={MINUTES}m"] if wait else []
        return self.call(
            "upgrade", "--install", self.name, str(CHART), "--values=-", *flags, text=json.dumps(values)
        )

    def call(self, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [self.helm, "--namespace", self.space.name, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=(MINUTES + 1) * 60,
            env=live.environment(),
        )
        return done.stderr if done.returncode else ""

    def manifest(self) -> str:
        """What was applied last."""
        return live.run(self.helm, "--namespace", self.space.name, "get", "manifest", self.name)

    def serves(self) -> bool:
        return self.ensemble.condition("Ready").get("status") == "True"

    def sees_no_drift(self) -> None:
        """Neither way of comparing what was applied with what is there finds anything."""
        self.space.kubectl("diff", "--server-side", "-f", "-", text=self.manifest())
        self.space.kubectl("diff", "-f", "-", text=self.manifest())


@dataclass(frozen=True)
class Watch:
    """Every state of the namespace's ensembles, as the API server tells it."""

    file: Path

    def states(self, name: str) -> list[Document]:
        events = [event["object"] for event in _documents(self.file.read_text())]
        return [found for found in events if found["metadata"]["name"] == name]


def _documents(text: str) -> Iterator[Document]:
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        try:
            document, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:  # the last one is not written to its end yet
            return
        yield document
        position += len(text[position:]) - len(text[position:].lstrip())


@contextmanager
def watching(space: live.Namespace, file: Path) -> Iterator[Watch]:
    command = ["kubectl", "-n", space.name, "get", "ie", "--watch", "--output-watch-events", "-o", "json"]
    with (
        file.open("w") as output,
        subprocess.Popen(
            [*command, "--show-managed-fields"], stdout=output, env=live.environment()
        ) as process,
    ):
        try:
            yield Watch(file)
        finally:
            process.kill()


def test_a_life_under_gitops(namespace: live.Namespace, helm: str, judge: Judges, tmp_path: Path) -> None:
    net, bad = Release(helm, namespace, "net"), Release(helm, namespace, "bad")
    wrong = namespace.put("text.onnx", "<html>not found</html>")
    with watching(namespace, tmp_path / "watch.json") as watch, ThreadPoolExecutor() as pool:
        failing = pool.submit(bad.upgrade, wrong)
        live.eventually(lambda: watch.states("bad"), what="the watch shows nothing")
        _live(net, wrong, watch)
        assert STALLED.search(failing.result())
        live.eventually(
            lambda: "deletionTimestamp" in watch.states("net")[-1]["metadata"], what="not deleted"
        )
        states, others = watch.states("net"), watch.states("bad")
    assert [intruder for state in (*states, *others) for intruder in intruders(state)] == []
    said = [judge.of(state) for state in states]
    colours = [colour for colour, _ in itertools.groupby(verdict.argo for verdict in said)]
    assert colours == ["Progressing", *LIFE, "Progressing"]
    scenes = chosen(states) | {"stalled-at-first": first(others, lambda state: is_true(state, "Stalled"))}
    verdicts = {name: judge.of(state) for name, state in scenes.items()}
    assert {name: verdict.words for name, verdict in verdicts.items()} == EXPECTED
    if os.environ.get("ENSEMBLES_RECORD"):
        record(scenes, verdicts)


LIFE = (
    *("Healthy", "Progressing"),  # installed; its server is killed
    *("Healthy", "Progressing"),  # it is back; another model is applied while suspended
    *("Suspended", "Progressing"),
    *("Healthy", "Progressing"),  # resumed; then a wrong model
    *("Degraded", "Progressing"),
    "Healthy",  # rolled back
)
"""What Argo CD shows from the first answer to the deletion, and nothing between."""


def _live(net: Release, wrong: str, watch: Watch) -> None:
    space = net.space
    double = space.put("double.onnx", affine_onnx(scale=2))
    triple = space.put("triple.onnx", affine_onnx(scale=3))
    assert net.upgrade(double) == ""
    assert net.serves()
    net.sees_no_drift()

    before = len(watch.states(net.name))
    space.kubectl("delete", "pod", "-l", "ensembles.dev/role=server", "--force", "--grace-period=0")
    live.eventually(
        lambda: any(
            condition(state, "Available")["status"] == "False" for state in watch.states(net.name)[before:]
        ),
        what="nobody sees that the server is gone",
    )
    net.ensemble.wait()

    assert net.upgrade(triple, suspend=True, wait=False) == ""
    live.eventually(
        lambda: net.ensemble.condition("Ready").get("reason") == "Suspended", what=net.ensemble.describe
    )
    net.sees_no_drift()
    assert net.upgrade(triple) == ""
    assert net.serves()
    net.sees_no_drift()

    assert STALLED.search(net.upgrade(wrong))
    assert net.ensemble.condition("Available")["status"] == "True"
    net.sees_no_drift()
    assert net.call("rollback", "net", "3", "--wait", f"--timeout={MINUTES}m") == ""
    assert net.serves()
    net.sees_no_drift()
    assert net.call("uninstall", "net", "--wait", f"--timeout={MINUTES}m") == ""


def intruders(state: Document) -> Iterator[str]:
    """Who besides helm wrote anything but status and finalizers, and what."""
    for entry in state["metadata"]["managedFields"]:
        fields = entry["fieldsV1"]
        finalizers_alone = set(fields) == {"f:metadata"} and set(fields["f:metadata"]) == {"f:finalizers"}
        if entry["manager"] != "helm" and entry.get("subresource") != "status" and not finalizers_alone:
            yield f"{entry['manager']}: {fields}"


def condition(state: Document, kind: str) -> Document:
    found = state["status"].get("conditions", [])
    return next((entry for entry in found if entry["type"] == kind), {})


def is_true(state: Document, kind: str) -> bool:
    return condition(state, kind).get("status") == "True" and seen(state)


def seen(state: Document) -> bool:
    """The operator has answered this generation."""
    answered: bool = state["status"]["observedGeneration"] == state["metadata"]["generation"]
    return answered


def because(reason: str) -> Callable[[Document], bool]:
    return lambda state: seen(state) and condition(state, "Ready").get("reason") == reason


def first(states: Sequence[Document], fits: Callable[[Document], bool]) -> Document:
    return next(state for state in states if fits(state))


def chosen(states: Sequence[Document]) -> dict[str, Document]:
    """One state for each stage of a life; all but the first come after the first Ready where that matters."""
    ready = first(states, lambda state: is_true(state, "Ready"))
    later = states[states.index(ready) :]
    return {
        "created": states[0],
        "assembling": first(states, because("Assembling")),
        "rolling-out": first(states, because("RollingOut")),
        "ready": ready,
        "unavailable": first(later, lambda state: seen(state) and not is_true(state, "Available")),
        "changed": first(later, lambda state: not seen(state)),
        "suspended": first(later, because("Suspended")),
        "stalled-later": first(later, lambda state: is_true(state, "Stalled")),
        "deleting": first(later, because("Deleting")),
    }


def record(scenes: Mapping[str, Document], verdicts: Mapping[str, Verdict]) -> None:
    """Write Argo CD's test data: the objects without their managedFields, and what is said of them."""
    folder = judges.HEALTH.parent
    tests = []
    for name in EXPECTED:
        metadata = {k: v for k, v in scenes[name]["metadata"].items() if k != "managedFields"}
        document = {**scenes[name], "metadata": metadata}
        path = f"testdata/{name}.yaml"
        (folder / path).write_text(yaml.safe_dump(document, sort_keys=False, width=110))
        health = {"status": verdicts[name].argo, "message": verdicts[name].message}
        tests.append({"healthStatus": health, "inputPath": path})
    text = yaml.safe_dump({"tests": tests}, sort_keys=False, width=110)
    (folder / "health_test.yaml").write_text(text)
