"""Actions on a real API server."""

from __future__ import annotations

import pytest

from ensemble_operator.apply.executor import Executor, Target
from ensemble_operator.apply.failures import LeavingObjectError, ObjectNotOwnedError
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import (
    ConflictError,
    InvalidError,
    NamespaceTerminatingError,
    QuotaExceededError,
    UnavailableError,
)
from ensemble_operator.cluster.kinds import CONFIG_MAP, DEPLOYMENT, ENSEMBLE, JOB, POD, SERVICE, Kind
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.plan.actions import (
    Annotate,
    Apply,
    Create,
    Delete,
    Scale,
    SetFinalizer,
)
from ensembles_api.names import FINALIZER
from tests.operator.conftest import CreateEnsemble
from tests.operator.control_plane import eventually
from tests.operator.objects import Object, exists, job, live, reference, service

pytestmark = pytest.mark.apiserver
NOBODY = "00000000-0000-0000-0000-000000000000"
"""A uid that no object has."""


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
