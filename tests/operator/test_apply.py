"""Actions, status and Events on a real API server."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ensemble_operator.apply.executor import Executor, Target
from ensemble_operator.apply.failures import LeavingObjectError, ObjectNotOwnedError
from ensemble_operator.apply.report import Reporter
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import (
    ConflictError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    QuotaExceededError,
    UnavailableError,
)
from ensemble_operator.cluster.kinds import CONFIG_MAP, DEPLOYMENT, ENSEMBLE, EVENT, JOB, POD, SERVICE, Kind
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.plan.actions import (
    AddOwner,
    Annotate,
    Apply,
    Create,
    Delete,
    Event,
    LeaveJob,
    Scale,
    SetFinalizer,
)
from ensembles_api.names import FINALIZER
from tests.operator.conftest import CreateEnsemble
from tests.operator.control_plane import eventually

pytestmark = pytest.mark.apiserver

Object = dict[str, Any]

NOBODY = "00000000-0000-0000-0000-000000000000"
"""A uid that no object has."""


@pytest.fixture
def cache() -> ObjectCache:
    return ObjectCache()


@pytest.fixture
def executor(api: KubernetesApi, cache: ObjectCache) -> Executor:
    return Executor(api, cache)


def reference(target: Target) -> Object:
    return {
        "apiVersion": ENSEMBLE.api_version,
        "kind": ENSEMBLE.name,
        "name": target.name,
        "uid": target.uid,
        "controller": True,
    }


def service(target: Target, **selector: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "labels": {"ensembles.dev/ensemble": target.name},
            "ownerReferences": [reference(target)],
        },
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 8000}]},
    }


def job(target: Target, name: str = "build-x") -> Object:
    labels = {
        "app.kubernetes.io/managed-by": "ensemble-operator",
        "ensembles.dev/role": "build",
        "ensembles.dev/key": "k",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": target.namespace,
            "labels": labels,
            "ownerReferences": [reference(target)],
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "upload", "image": "example.com/x:1"}],
                },
            },
        },
    }


def live(api: KubernetesApi, kind: Kind, target: Target, name: str | None = None) -> Object:
    return dict(api.get(kind, target.namespace, name or target.name))


def exists(api: KubernetesApi, kind: Kind, target: Target, name: str | None = None) -> bool:
    try:
        api.get(kind, target.namespace, name or target.name)
    except NotFoundError:
        return False
    return True


def test_equal_apply_changes_nothing(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    assert executor.execute(Apply(service(target, a="b", c="d")), target)
    before = live(api, SERVICE, target)
    assert not executor.execute(Apply(service(target, a="b", c="d")), target)
    assert live(api, SERVICE, target)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert executor.execute(Apply(service(target, a="b")), target)
    after = live(api, SERVICE, target)
    assert after["spec"]["selector"] == {"a": "b"}, "what is no longer applied is removed"
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_strangers_object_is_not_touched(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    foreign = service(target, their="selector")
    del foreign["metadata"]["ownerReferences"]
    before = api.create(SERVICE, foreign)
    for action in (Apply(service(target, a="b")), Create(service(target, a="b"))):
        with pytest.raises(ObjectNotOwnedError, match="Service 'demo' exists"):
            executor.execute(action, target)
    assert live(api, SERVICE, target)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_object_of_the_former_resource_of_this_name_is_waited_for(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    former = Target(target.namespace, target.name, NOBODY)
    left = service(former, a="b")
    left["metadata"]["finalizers"] = ["example.com/slow"]  # the garbage collector cannot finish
    api.create(SERVICE, left)
    with pytest.raises(LeavingObjectError):
        executor.execute(Apply(service(target, a="b")), target)
    api.patch(SERVICE, target.namespace, target.name, {"metadata": {"finalizers": None}})
    eventually(lambda: not exists(api, SERVICE, target), seconds=60, what="it is collected")
    assert executor.execute(Apply(service(target, a="b")), target)


def test_applying_to_an_object_replaced_meanwhile_is_a_conflict(
    api: KubernetesApi, executor: Executor, cache: ObjectCache, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(Apply(service(target, a="b")), target)
    known = live(api, SERVICE, target)
    api.delete(SERVICE, target.namespace, target.name, uid=known["metadata"]["uid"])
    foreign = service(target, their="selector")
    del foreign["metadata"]["ownerReferences"]
    api.create(SERVICE, foreign)
    with pytest.raises(ConflictError):
        executor.execute(Apply(service(target, a="b")), target)
    assert live(api, SERVICE, target)["spec"]["selector"] == {"their": "selector"}
    assert cache.get(SERVICE, target.namespace, target.name) is None, "the cache no longer believes in it"
    with pytest.raises(ObjectNotOwnedError):
        executor.execute(Apply(service(target, a="b")), target)


def test_create_twice_is_success(
    api: KubernetesApi, executor: Executor, cache: ObjectCache, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    assert executor.execute(Create(job(target)), target)
    uid = live(api, JOB, target, "build-x")["metadata"]["uid"]
    stale = Executor(api, ObjectCache())
    stale.execute(Create(job(target)), target)
    assert live(api, JOB, target, "build-x")["metadata"]["uid"] == uid
    known = cache.get(JOB, target.namespace, "build-x")
    assert known is not None, "we read our own write"


def test_labels_taken_off_by_hand_are_put_back(
    api: KubernetesApi, executor: Executor, cache: ObjectCache, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(Create(service(target, a="b")), target)
    bare = {"metadata": {"labels": {"ensembles.dev/ensemble": None, "team": "a"}}}
    api.patch(SERVICE, target.namespace, target.name, bare)
    assert executor.execute(Create(service(target, a="b")), target)
    labels = {"ensembles.dev/ensemble": target.name, "team": "a"}
    assert live(api, SERVICE, target)["metadata"]["labels"] == labels
    known = cache.get(SERVICE, target.namespace, target.name)
    assert known is not None
    assert known["metadata"]["labels"] == labels
    assert not executor.execute(Create(service(target, a="b")), target)


def test_deleting_a_job_deletes_its_pods(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(Create(job(target)), target)
    uid = live(api, JOB, target, "build-x")["metadata"]["uid"]
    eventually(lambda: api.list(POD, target.namespace).items, what="the Job's pod")
    assert executor.execute(Delete("Job", "build-x", uid), target)
    eventually(lambda: not api.list(POD, target.namespace).items, what="no pod")
    assert executor.execute(Delete("Job", "build-x", uid), target), "absence is success"


def test_deleting_spares_a_successor_of_the_same_name(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(Create(job(target)), target)
    executor.execute(Delete("Job", "build-x", NOBODY), target)
    assert exists(api, JOB, target, "build-x")


def test_annotating_needs_the_right_uid(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(Apply(service(target, a="b")), target)
    uid = live(api, SERVICE, target)["metadata"]["uid"]
    assert executor.execute(Annotate("Service", target.name, uid, {"ensembles.dev/x": "1"}), target)
    assert live(api, SERVICE, target)["metadata"]["annotations"] == {"ensembles.dev/x": "1"}
    with pytest.raises(ConflictError):
        executor.execute(
            Annotate("Service", target.name, NOBODY, {"ensembles.dev/x": "2"}),
            target,
        )


def test_scaling_goes_through_the_subresource(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    manifest: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": target.namespace, "ownerReferences": [reference(target)]},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "example.com/x:1"}]},
            },
        },
    }
    executor.execute(Create(manifest), target)
    executor.execute(Scale("d", 3), target)
    assert live(api, DEPLOYMENT, target, "d")["spec"]["replicas"] == 3


def test_finalizer_is_put_on_and_taken_off_beside_others(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    api.patch(ENSEMBLE, target.namespace, target.name, {"metadata": {"finalizers": ["example.com/theirs"]}})
    executor.execute(SetFinalizer(present=True), target)
    executor.execute(SetFinalizer(present=True), target)
    assert live(api, ENSEMBLE, target)["metadata"]["finalizers"] == ["example.com/theirs", FINALIZER]
    executor.execute(SetFinalizer(present=False), target)
    assert live(api, ENSEMBLE, target)["metadata"]["finalizers"] == ["example.com/theirs"]
    api.patch(ENSEMBLE, target.namespace, target.name, {"metadata": {"finalizers": None}})


def test_taking_the_finalizer_off_lets_a_deleted_resource_go(
    api: KubernetesApi, executor: Executor, cache: ObjectCache, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(SetFinalizer(present=True), target)
    api.delete(ENSEMBLE, target.namespace, target.name, uid=target.uid)
    assert "deletionTimestamp" in live(api, ENSEMBLE, target)["metadata"]
    executor.execute(SetFinalizer(present=False), target)
    assert not exists(api, ENSEMBLE, target)
    assert cache.get(ENSEMBLE, target.namespace, target.name) is None
    executor.execute(SetFinalizer(present=False), target)  # again: nothing to do


def test_shared_job_lives_until_its_last_owner_leaves(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    one, two = create_ensemble("one"), create_ensemble("two")
    executor.execute(Create(job(one)), one)
    uid = live(api, JOB, one, "build-x")["metadata"]["uid"]
    executor.execute(AddOwner("build-x", uid), two)
    executor.execute(AddOwner("build-x", uid), two)
    assert owners(api, one) == {one.uid, two.uid}
    executor.execute(LeaveJob("build-x", uid), one)
    executor.execute(LeaveJob("build-x", uid), one)
    assert owners(api, one) == {two.uid}
    executor.execute(LeaveJob("build-x", uid), two)
    assert not exists(api, JOB, one, "build-x")
    executor.execute(LeaveJob("build-x", uid), two)  # again: nothing to do


def owners(api: KubernetesApi, target: Target) -> set[str]:
    metadata = live(api, JOB, target, "build-x")["metadata"]
    return {owner["uid"] for owner in metadata.get("ownerReferences") or ()}


def test_owners_who_leave_at_the_same_time_leave_no_orphan(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    targets = [create_ensemble(f"e{number}") for number in range(4)]
    executor.execute(Create(job(targets[0])), targets[0])
    uid = live(api, JOB, targets[0], "build-x")["metadata"]["uid"]
    for target in targets[1:]:
        executor.execute(AddOwner("build-x", uid), target)
    threads = [
        threading.Thread(target=executor.execute, args=(LeaveJob("build-x", uid), target))
        for target in targets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not exists(api, JOB, targets[0], "build-x")


def test_deleting_one_owner_keeps_the_job(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    """The garbage collector's rule that sharing relies on."""
    one, two = create_ensemble("one"), create_ensemble("two")
    executor.execute(Create(job(one)), one)
    uid = live(api, JOB, one, "build-x")["metadata"]["uid"]
    executor.execute(AddOwner("build-x", uid), two)
    api.delete(ENSEMBLE, one.namespace, one.name, uid=one.uid)
    eventually(lambda: owners(api, two) == {two.uid}, what="the collector takes the dead owner off")
    api.delete(ENSEMBLE, two.namespace, two.name, uid=two.uid)
    eventually(lambda: not exists(api, JOB, one, "build-x"), what="the Job goes with its last owner")


class FakeTime:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


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


def test_refusals_are_typed(api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble) -> None:
    target = create_ensemble()
    bad = job(target)
    bad["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Sometimes"}]
    with pytest.raises(InvalidError) as refused:
        executor.execute(Create(bad), target)
    assert refused.value.causes[0].field == "spec.template.spec.tolerations[0].operator"
    misspelt = job(target)
    misspelt["spec"]["template"]["spec"]["affinity"] = {"nodeAffin": {}}
    with pytest.raises(InvalidError, match=r"unknown field .*nodeAffin"):
        executor.execute(Create(misspelt), target)
    quota = Kind("v1", "ResourceQuota", "resourcequotas")
    api.create(
        quota,
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q", "namespace": target.namespace},
            "spec": {"hard": {"count/jobs.batch": "0"}},
        },
    )

    def refused_by_quota() -> bool:
        try:
            executor.execute(Create(job(target)), target)
        except QuotaExceededError:
            return True
        executor.execute(
            Delete("Job", "build-x", live(api, JOB, target, "build-x")["metadata"]["uid"]), target
        )
        return False

    eventually(refused_by_quota, what="the quota is enforced")


def test_ending_namespace_is_told_apart(
    api: KubernetesApi, executor: Executor, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    executor.execute(SetFinalizer(present=True), target)
    api._request("DELETE", f"/api/v1/namespaces/{target.namespace}")
    with pytest.raises(NamespaceTerminatingError):
        executor.execute(Create(job(target)), target)
    executor.execute(SetFinalizer(present=False), target)


def test_server_that_does_not_answer(create_ensemble: CreateEnsemble, api: KubernetesApi) -> None:
    target = create_ensemble()
    host = api._client.configuration.host
    api._client.configuration.host = "https://127.0.0.1:1"
    try:
        with pytest.raises(UnavailableError, match="no answer"):
            api.get(CONFIG_MAP, target.namespace, "x")
    finally:
        api._client.configuration.host = host
