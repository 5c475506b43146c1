"""The sidecar of a build says nothing about the build."""

from __future__ import annotations

from dataclasses import replace

from ensemble_operator.plan.jobs import Failed, Running, judge
from ensemble_operator.plan.observation import ContainerSeen, JobSeen, PodSeen
from ensembles_api.names import LABEL_ROLE
from ensembles_api.reasons import Reason
from tests.unit.plan.world import T0

JOB = JobSeen(
    name="build-tensorrt-1",
    uid="job",
    labels={LABEL_ROLE: "build"},
    annotations={},
    state="failed",
    created=T0,
    finished_at=T0,
    owners=(),
    pods=(),
)


def test_a_sidecar_that_ended_badly_is_not_to_blame() -> None:
    keep = ContainerSeen(name="keep", init=True, exit_code=1, termination_message="no route to storage")
    compiler = ContainerSeen(name="compile", init=True, exit_code=139, termination_message="segfault")
    pod = PodSeen(name="p", uid="p", labels={}, phase="Failed", containers=(keep, compiler))

    verdict = judge(replace(JOB, pods=(pod,)), now=T0)

    assert isinstance(verdict, Failed)
    assert verdict.trouble.reason is Reason.COMPILE_FAILED
    assert "segfault" in verdict.trouble.message


def test_a_build_that_is_stopped_from_outside_is_tried_again() -> None:
    """A machine that is shut down stops its containers, and marks no pod as disrupted."""
    keep = ContainerSeen(name="keep", init=True, exit_code=0)
    for name in ("compile", "export"):
        stopped = ContainerSeen(name=name, init=True, exit_code=143, terminated_reason="Error")
        pod = PodSeen(name="p", uid="p", labels={}, phase="Failed", containers=(keep, stopped))

        verdict = judge(replace(JOB, pods=(pod,)), now=T0)

        assert isinstance(verdict, Failed)
        assert verdict.trouble.reason is Reason.POD_LOST
        assert verdict.trouble.retry_at is not None


KILLED = ContainerSeen(name="keep", init=True, exit_code=137, terminated_reason="OOMKilled")


def test_a_sidecar_that_is_started_again_leaves_the_compile_running() -> None:
    compiler = ContainerSeen(name="compile", init=True, running=True)
    pod = PodSeen(name="p", uid="p", labels={}, phase="Pending", containers=(KILLED, compiler))

    verdict = judge(replace(JOB, state="active", finished_at=None, pods=(pod,)), now=T0)

    assert isinstance(verdict, Running)


def test_a_sidecar_that_was_once_short_of_memory_does_not_hide_the_compilers_fault() -> None:
    compiler = ContainerSeen(name="compile", init=True, exit_code=1, termination_message="segfault")
    pod = PodSeen(name="p", uid="p", labels={}, phase="Failed", containers=(KILLED, compiler))

    verdict = judge(replace(JOB, pods=(pod,)), now=T0)

    assert isinstance(verdict, Failed)
    assert verdict.trouble.reason is Reason.COMPILE_FAILED
