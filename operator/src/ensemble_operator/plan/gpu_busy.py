"""A GPU that the ensemble's own servers hold, while its build or its next servers wait for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ensemble_operator.plan import history
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.jobs import pod_wait
from ensemble_operator.plan.observation import Observation, PodSeen
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.gpu import PRODUCT_LABEL
from ensembles_api.reasons import Reason
from ensembles_api.spec import InferenceEnsembleSpec


def gives_way(observation: Observation, building: BuildOutcome | None) -> bool:
    """Whether the servers that clients reach shall end, by spec.build.whenGPUBusy, until the next ones serve.

    Once they have ended they stay so while the work goes on, and come back where it fails.
    """
    spec, active = observation.spec, history.active_rollout(observation)
    if spec is None or building is None or active is None or not spec.serving.replicas:
        return False
    wanted = building.wanted.rollout_hash() if building.wanted else None
    if spec.build.when_gpu_busy != "StopServing" or wanted == active or _has_failed(observation, wanted):
        return False
    servers = deployments_of(observation, active)
    if servers and not any(server.replicas for server in servers):
        return building.trouble is None or building.trouble.reason is Reason.WAITING_FOR_GPU
    return _holder(observation, building) is not None


def explained(observation: Observation, building: BuildOutcome, trouble: Trouble | None) -> Trouble | None:
    """The trouble, naming the ensemble's own pod where that one holds the GPU, and what can be done."""
    if trouble is None or trouble.reason is not Reason.WAITING_FOR_GPU:
        return trouble
    holder = _holder(observation, building)
    if holder is None or observation.spec is None:
        return trouble
    return replace(trouble, message=f"{trouble.message}; {_advice(holder, observation.spec)}")


def _advice(holder: PodSeen, spec: InferenceEnsembleSpec) -> str:
    held = f"this ensemble's own server {holder.name} holds one"
    if spec.build.when_gpu_busy == "StopServing":
        return f"{held} and is being ended"
    return (
        f"{held}: add a GPU, or set spec.build.whenGPUBusy to StopServing to end it until the new ones serve"
    )


def _has_failed(observation: Observation, rollout: str | None) -> bool:
    seen = history.find(observation, rollout) if rollout else None
    return seen is not None and history.outcome(seen) == history.FAILED


def _holder(observation: Observation, building: BuildOutcome) -> PodSeen | None:
    """A server's pod, of the active rollout, on a GPU for which another pod of the ensemble waits."""
    active = history.active_rollout(observation)
    servers = deployments_of(observation, active) if active else []
    held = [pod for server in servers for pod in server.pods if pod.devices and pod.scheduled]
    waiting = list(_waiting(observation, building, active))
    return next((pod for pod in held if any(_same_gpu(pod, other) for other in waiting)), None)


def _waiting(observation: Observation, building: BuildOutcome, active: str | None) -> Iterator[PodSeen]:
    wanted = building.wanted.rollout_hash() if building.wanted else None
    jobs = [pod for job in observation.jobs if job.name in building.kept_jobs for pod in job.pods]
    servers = deployments_of(observation, wanted) if wanted and wanted != active else []
    for pod in (*jobs, *(pod for server in servers for pod in server.pods)):
        wait = pod_wait(pod)
        if wait is not None and wait.reason is Reason.WAITING_FOR_GPU:
            yield pod


def _same_gpu(one: PodSeen, other: PodSeen) -> bool:
    """Whether what one holds would do for the other, as far as their selectors say."""
    products = {
        pod.node_selector[PRODUCT_LABEL] for pod in (one, other) if PRODUCT_LABEL in pod.node_selector
    }
    return bool(set(one.devices) & set(other.devices)) and len(products) < 2  # noqa: PLR2004 - of two pods
