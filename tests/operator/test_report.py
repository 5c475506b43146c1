"""Status and Events on a real API server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ensemble_operator.apply.executor import Target
from ensemble_operator.apply.report import Reporter
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import ENSEMBLE, EVENT
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.plan.actions import Event
from tests.operator.conftest import CreateEnsemble, FakeTime
from tests.operator.objects import Object, live

pytestmark = pytest.mark.apiserver


@pytest.fixture
def reporter(api: KubernetesApi, cache: ObjectCache, time: FakeTime) -> Reporter:
    return Reporter(api, cache, instance="operator-0", now=time)


def condition(kind: str, status: str = "True") -> Object:
    return {
        "type": kind,
        "status": status,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T00:41:00Z",
        "reason": "Because",
        "message": "m",
    }


def test_status_is_exactly_what_was_written(
    api: KubernetesApi, reporter: Reporter, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    before = live(api, ENSEMBLE, target)
    long = {
        "observedGeneration": 1,
        "conditions": [condition("Ready", "False"), condition("Stalled")],
        "stage": "Stalled",
        "attempt": 3,
        "models": [{"name": "net", "kind": "onnxruntime", "state": "Built"}],
        "history": [],
        "targets": [],
        "warnings": ["careful"],
    }
    assert reporter.write_status(target, long, before=before["status"])
    written = live(api, ENSEMBLE, target)
    assert written["status"] == long
    short = {"observedGeneration": 1, "conditions": [condition("Ready")], "models": [], "history": []}
    assert reporter.write_status(target, short, before=written["status"])
    after = live(api, ENSEMBLE, target)
    assert after["status"] == short, "fields and conditions that are no longer there are removed"
    assert not reporter.write_status(target, short, before=after["status"])
    reporter.write_status(target, short, before={})
    assert live(api, ENSEMBLE, target)["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


def test_status_touches_neither_metadata_nor_spec(
    api: KubernetesApi, reporter: Reporter, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    before = live(api, ENSEMBLE, target)
    reporter.write_status(target, {"observedGeneration": 1, "stage": "x"}, before=before["status"])
    after = live(api, ENSEMBLE, target)
    for part in ("resourceVersion", "managedFields"):
        before["metadata"].pop(part)
    ours = [m for m in after["metadata"].pop("managedFields") if m["manager"] == "ensemble-operator"]
    after["metadata"].pop("resourceVersion")
    assert after["metadata"] == before["metadata"], "not even an annotation or the generation"
    assert after["spec"] == before["spec"]
    owned = [m for m in ours if "f:status" in m["fieldsV1"]]
    assert [m["subresource"] for m in owned] == ["status"]


def test_status_of_a_recreated_resource_is_left_alone(
    api: KubernetesApi, reporter: Reporter, create_ensemble: CreateEnsemble
) -> None:
    former = create_ensemble()
    api.delete(ENSEMBLE, former.namespace, former.name, uid=former.uid)
    present = create_ensemble()
    assert not reporter.write_status(former, {"observedGeneration": 7}, before={})
    assert live(api, ENSEMBLE, present)["status"]["observedGeneration"] == -1


def events(api: KubernetesApi, target: Target) -> list[Object]:
    found = api.list(EVENT, target.namespace, field_selector=f"involvedObject.name={target.name}").items
    return [dict(item) for item in found]


def test_event_is_posted_once_and_counted_when_it_comes_again(
    api: KubernetesApi, reporter: Reporter, create_ensemble: CreateEnsemble, time: FakeTime
) -> None:
    target = create_ensemble()
    event = Event("Warning", "Stalled", "spec.models[0]: " + "ä" * 2000)
    reporter.post(target, event)
    reporter.post(target, event)
    (posted,) = events(api, target)
    assert posted["reportingComponent"] == "ensembles.dev/operator"
    assert posted["involvedObject"]["uid"] == target.uid
    assert len(posted["message"].encode()) <= 1024
    assert (posted["count"], posted["lastTimestamp"]) == (1, posted["firstTimestamp"])
    time.now += timedelta(minutes=5)
    reporter.post(target, event)
    (posted,) = events(api, target)
    assert posted["count"] == 2
    assert posted["lastTimestamp"] > posted["firstTimestamp"]
    Reporter(api, ObjectCache(), instance="operator-1", now=time).post(target, event)
    assert len(events(api, target)) == 1, "a restarted operator does not repeat old news as new"
