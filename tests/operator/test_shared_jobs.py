"""Jobs with several owners, on a real API server."""

from __future__ import annotations

import threading

import pytest

from ensemble_operator.apply.executor import Executor, Target
from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import ENSEMBLE, JOB
from ensemble_operator.plan.actions import (
    AddOwner,
    Create,
    LeaveJob,
)
from tests.operator.conftest import CreateEnsemble
from tests.operator.control_plane import eventually
from tests.operator.objects import exists, job, live

pytestmark = pytest.mark.apiserver


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
