"""What a Job and its pod amount to: running (waiting for what?), done, or failed (whose fault?)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from ensemble_operator.names import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_FIRST_FAILURE,
    ANNOTATION_SETTINGS,
    COUNTING_CONTAINER,
    KEEP_CONTAINER,
)
from ensemble_operator.plan.claims import claim_wait
from ensemble_operator.plan.observation import IMAGE_REASONS, ContainerSeen, JobSeen, Observation, PodSeen
from ensemble_operator.plan.queued import queue_wait
from ensemble_operator.plan.trouble import Trouble, retry_time
from ensemble_operator.resources import http_proxy
from ensemble_operator.resources.jobs import JobContext
from ensembles_api.contract import Result
from ensembles_api.names import LABEL_ROLE, LABEL_ROLLOUT
from ensembles_api.reasons import Reason

USER_CODE = frozenset({"compile", "export"})
"""Containers whose last words are text to show, and no Result to believe."""
KILLED = 137
"""Exit code after SIGKILL. Deadlines and evictions, which end pods so, are told apart before."""
STOPPED = 143
"""Exit code after SIGTERM: somebody deleted the pod, or its machine was shut down, which marks no pod as
disrupted."""
LOG_LINES = 10
LIMIT_RANGE = re.compile(r" per (Container|Pod) is ")
"""In every refusal by Kubernetes' LimitRanger: minimum, maximum, and ratio of limit to request."""


@dataclass(frozen=True)
class Running:
    wait: Trouble | None = None
    """Set while the Job cannot get on by itself."""


@dataclass(frozen=True)
class Succeeded:
    result: Result


@dataclass(frozen=True)
class Failed:
    trouble: Trouble
    """With attempt, since and retry_at filled in."""


Verdict = Running | Succeeded | Failed


def attempt_of(job: JobSeen) -> int:
    return int(job.annotations.get(ANNOTATION_ATTEMPT, "1"))


def first_failure_of(job: JobSeen) -> datetime | None:
    """When the first of the attempts failed, of which this is a later one."""
    text = job.annotations.get(ANNOTATION_FIRST_FAILURE, "")
    return datetime.fromisoformat(text) if text else None


def of_rollout(observation: Observation, role: str, rollout: str) -> list[JobSeen]:
    """The Jobs of this role for a rollout's servers; those that are being deleted do not count."""
    return [
        job
        for job in observation.jobs
        if job.labels.get(LABEL_ROLE) == role
        and job.labels.get(LABEL_ROLLOUT) == rollout
        and not job.deleting
    ]


def newest(jobs: Iterable[JobSeen]) -> JobSeen | None:
    """The last attempt."""
    return max(jobs, key=attempt_of, default=None)


def tried_settings(job: JobSeen) -> tuple[str, ...]:
    return tuple(job.annotations.get(ANNOTATION_SETTINGS, "").split())


def is_outdated(job: JobSeen, context: JobContext) -> bool:
    """Whether the Job was never tried with the present settings: worth an attempt if it fails or waits.

    Ensembles with different settings share a build Job; since each settings are tried once, they do not take
    turns for ever.
    """
    return bool(tried_settings(job)) and context.settings not in tried_settings(job)


def judge(job: JobSeen, *, now: datetime) -> Verdict:
    """Read a Job. The counting container of its role alone may speak for it.

    Once that container has ended well the Job has done its work: the Job's own Complete condition comes a
    second or two later, and says nothing more.
    """
    counting = COUNTING_CONTAINER[job.labels[LABEL_ROLE]]
    pod = _newest_pod(job)
    container = pod.container(counting) if pod else None
    result = result_of(job)
    if job.state == "succeeded" or (container is not None and container.exit_code == 0):
        if result is not None and result.fault is None:
            return Succeeded(result)
        if result is None and counting != "assemble":
            return Succeeded(Result())  # all it had to say is that it ended well
    if job.state == "active" and not _is_killed_unnoticed(pod):
        return Running(_wait_of_job(job))
    if job.state == "succeeded":
        trouble = Trouble(Reason.POD_LOST, f"Job {job.name} ended well, but its pod is gone with the result")
    else:
        trouble = _failure(job, pod, result)
    return Failed(_with_retry(job, trouble, now=now))


def result_of(job: JobSeen) -> Result | None:
    """What its counting container left; None where there is nothing, or no Result."""
    pod = _newest_pod(job)
    container = pod.container(COUNTING_CONTAINER[job.labels[LABEL_ROLE]]) if pod else None
    return parse_result(container.termination_message) if container else None


def _is_killed_unnoticed(pod: PodSeen | None) -> bool:
    """Whether an init container lost a process for want of memory and ended with 0 all the same: the kubelet
    then neither starts the next one nor ends the pod (seen where the kernel ends single processes).
    """
    return (
        pod is not None
        and pod.phase == "Pending"
        and any(
            c.init and not c.running and c.exit_code is not None and c.terminated_reason == "OOMKilled"
            for c in _working(pod)
        )
    )


def _working(pod: PodSeen) -> list[ContainerSeen]:
    """Its containers without the sidecar, which starts again by itself and fails no build."""
    return [container for container in pod.containers if container.name != KEEP_CONTAINER]


def _newest_pod(job: JobSeen) -> PodSeen | None:
    return max(job.pods, key=lambda p: (p.created or job.created, p.name), default=None)


def parse_result(message: str) -> Result | None:
    """A termination message as Result; None where it is not one."""
    try:
        return Result.model_validate_json(message)
    except ValidationError:
        return None


def _with_retry(job: JobSeen, trouble: Trouble, *, now: datetime) -> Trouble:
    attempt = attempt_of(job)
    finished = job.finished_at or now
    since = first_failure_of(job) or finished
    retry = retry_time(trouble.reason, attempt=attempt, finished=finished, since=since, now=now)
    return Trouble(
        trouble.reason, trouble.message, trouble.field, since=since, attempt=attempt, retry_at=retry
    )


def _failure(job: JobSeen, pod: PodSeen | None, result: Result | None) -> Trouble:
    if result is not None and result.fault is not None:
        return Trouble(result.fault.code, result.fault.message, field=result.fault.field)
    if pod is None:
        return Trouble(
            Reason.POD_LOST, f"the pod of Job {job.name} is gone ({job.failed_reason or 'no reason'})"
        )
    killed = next((c for c in _working(pod) if c.terminated_reason == "OOMKilled"), None)
    if killed:
        return _out_of_memory(job, killed)
    if pod.disrupted or pod.reason in {"Evicted", "NodeLost", "NodeShutdown", "Terminated"}:
        return Trouble(Reason.POD_LOST, f"pod {pod.name} was evicted: {pod.message or pod.reason}")
    if pod.reason == "DeadlineExceeded" and _never_started(pod):
        return Trouble(
            Reason.JOB_FAILED,
            f"no container of Job {job.name} was started on node {pod.node} in the time that the Job has: "
            "its image, a volume, or the node's driver for its GPU was not there",
        )
    if pod.reason == "DeadlineExceeded":
        if job.labels[LABEL_ROLE] == "build":
            return Trouble(
                Reason.BUILD_TIMED_OUT,
                f"Job {job.name} ran longer than allowed; raise it",
                field="spec.build.timeoutSeconds",
            )
        return Trouble(Reason.JOB_FAILED, f"Job {job.name} ran longer than allowed")
    return _bad_exit(job, pod)


def _never_started(pod: PodSeen) -> bool:
    """The kubelet notes a container that it never made as ended, with no time of a start."""
    return bool(pod.containers) and not any(c.running or c.started_at for c in pod.containers)


def _out_of_memory(job: JobSeen, killed: ContainerSeen) -> Trouble:
    """The user sets what compiling may have; the other containers have no limit of ours."""
    if killed.name in USER_CODE:
        return Trouble(
            Reason.OUT_OF_MEMORY,
            f"container {killed.name} of Job {job.name} needed more memory than its limit; raise "
            "resources.limits.memory",
            field="" if killed.name == "export" else "spec.build.resources.limits.memory",
        )
    return Trouble(
        Reason.JOB_FAILED,
        f"container {killed.name} of Job {job.name} was ended for want of memory: look for a LimitRange in "
        "the namespace, or a node without free memory",
    )


def _bad_exit(job: JobSeen, pod: PodSeen) -> Trouble:
    bad = next((c for c in _working(pod) if c.exit_code not in {0, None}), None)
    if bad is None:
        return Trouble(Reason.JOB_FAILED, f"Job {job.name} failed: {pod.message or job.failed_reason}")
    if bad.name in USER_CODE and bad.exit_code == KILLED:
        return _out_of_memory(job, bad)  # by the node's kernel, of which the kubelet was not told
    if bad.name in USER_CODE and bad.exit_code == STOPPED:
        return Trouble(Reason.POD_LOST, f"container {bad.name} of Job {job.name} was stopped from outside")
    inner = parse_result(bad.termination_message)
    if inner is not None and inner.fault is not None and bad.name not in USER_CODE:
        return Trouble(inner.fault.code, inner.fault.message, field=inner.fault.field)
    if bad.name == "export":
        said = _last_lines(bad.termination_message)
        return Trouble(Reason.EXPORT_FAILED, f"the container ended with exit code {bad.exit_code}: {said}")
    last = _last_line(bad.termination_message)
    if bad.name == "compile":
        return Trouble(
            Reason.COMPILE_FAILED, f"compile ended with exit code {bad.exit_code} and no result: {last}"
        )
    return Trouble(
        Reason.JOB_FAILED,
        f"container {bad.name} of Job {job.name} ended with exit code {bad.exit_code}: {last}",
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def _last_lines(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LOG_LINES:])[-1500:] if lines else "it printed nothing"


def _wait_of_job(job: JobSeen) -> Trouble | None:
    if job.suspended:
        return queue_wait(job)
    pod = _newest_pod(job)
    if pod is None:
        return creation_wait(job.create_error, of="build", since=job.created) if job.create_error else None
    return pod_wait(pod)


def creation_wait(message: str, *, of: Literal["build", "serving"], since: datetime | None) -> Trouble:
    """Why the API server refuses a pod, whose settings are those of spec.build or spec.serving."""
    if "exceeded quota" in message:
        return Trouble(Reason.QUOTA_EXCEEDED, message, since=since)
    if LIMIT_RANGE.search(message):
        return _outside_limit_range(message, of=of, since=since)
    field = ""
    if "no PriorityClass" in message:
        field = f"spec.{of}.priorityClassName"
    elif "service account" in message:
        field = "spec.serving.serviceAccountName" if of == "serving" else "spec.storage.identity"
    return Trouble(Reason.INVALID_POD_SETTINGS, message, field=field, since=since)


def _outside_limit_range(message: str, *, of: Literal["build", "serving"], since: datetime | None) -> Trouble:
    """The message has the figures, and does not say which container they are of."""
    if of == "build":
        cure = "set spec.build.resources if it is the container that compiles; else change the LimitRange"
        return Trouble(Reason.INVALID_POD_SETTINGS, f"{message}: {cure}", since=since)
    default = http_proxy.LIMITS["memory"]
    return Trouble(
        Reason.INVALID_POD_SETTINGS,
        f"{message}: set requests and limits within the namespace's LimitRange (without any, the proxy's "
        f"memory is limited to {default}), or change the LimitRange",
        field="spec.serving.resources / spec.serving.httpProxy.resources",
        since=since,
    )


def pod_wait(pod: PodSeen) -> Trouble | None:
    """Why a pod does not start: no node, no image, no Secret; None where it runs or just needs time."""
    if pod.phase != "Pending":
        return None
    if pod.claim_error:
        return claim_wait(pod)
    if not pod.scheduled:
        if pod.unscheduled_reason != "Unschedulable":
            return None
        reason = Reason.WAITING_FOR_GPU if _lacks_device(pod) else Reason.UNSCHEDULABLE
        return Trouble(reason, f"pod {pod.name}: {pod.unscheduled_message}", since=pod.created)
    for container in pod.containers:
        trouble = _container_wait(pod, container)
        if trouble:
            return trouble
    return None


def _lacks_device(pod: PodSeen) -> bool:
    """Whether no node fits for want of a device. The scheduler looks at labels (a GPU's product) before it
    counts: a node that lacks CPU or memory alone has the product, and a device free.
    """
    text = pod.unscheduled_message
    if any(device in text for device in pod.devices):
        return True
    return bool(pod.devices) and "affinity/selector" in text and "Insufficient" not in text


def _container_wait(pod: PodSeen, container: ContainerSeen) -> Trouble | None:
    reason, message = container.waiting_reason, container.waiting_message
    if reason in IMAGE_REASONS:
        return Trouble(Reason.IMAGE_UNAVAILABLE, f"pod {pod.name}: {message or reason}", since=pod.created)
    if reason == "CreateContainerConfigError":
        lowered = message.lower()
        if "secret" in lowered:
            return Trouble(Reason.SECRET_MISSING, f"{message}; create it", since=pod.created)
        if "configmap" in lowered:
            return Trouble(Reason.CONFIG_MAP_MISSING, f"{message}; create it", since=pod.created)
        return Trouble(Reason.INVALID_POD_SETTINGS, message, since=pod.created)
    if reason in {"CreateContainerError", "RunContainerError"}:
        return Trouble(Reason.INVALID_POD_SETTINGS, message, since=pod.created)
    return None
