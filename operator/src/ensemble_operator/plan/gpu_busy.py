"""A GPU that the ensemble's own servers hold, while its build or its next servers wait for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_operator.plan import history
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.jobs import pod_wait
from ensemble_operator.plan.observation import CLAIMS, DeploymentSeen, Observation, PodSeen
from ensemble_operator.plan.stage import ServeOutcome
from ensemble_operator.plan.trouble import GRACE, Trouble
from ensemble_operator.resources.gpu import PRODUCT_LABEL
from ensembles_api.names import LABEL_TARGET
from ensembles_api.reasons import Reason
from ensembles_api.spec import InferenceEnsembleSpec

WAIT = timedelta(seconds=30)
"""So long a pod waits before servers end for it: a build that has just ended frees its GPU in a moment."""


@dataclass(frozen=True)
class Yielding:
    """What the servers that clients reach do for those that come next."""

    ended: frozenset[str] = frozenset()
    """Targets whose servers shall be none."""
    give_back: Trouble | None = None
    """Why the next servers shall hand the GPU back."""
    wake: datetime | None = None


def gives_way(
    observation: Observation, building: BuildOutcome | None, serving: ServeOutcome
) -> Yielding | None:
    """Which servers that clients reach shall end, by spec.build.whenGPUBusy, until the next ones serve.

    Once they have ended they stay so while the work goes on, and come back where it does not. None: all stay.
    """
    spec, active = observation.spec, history.active_rollout(observation)
    if spec is None or building is None or active is None or not spec.serving.replicas:
        return None
    wanted = building.wanted.rollout_hash() if building.wanted else None
    if spec.build.when_gpu_busy != "StopServing" or wanted == active or _is_over(observation, wanted):
        return None
    servers = deployments_of(observation, active)
    ended = frozenset(server.labels.get(LABEL_TARGET, "") for server in servers if not server.replicas)
    trouble = building.trouble or serving.trouble
    if ended and trouble is not None and trouble.reason is not Reason.WAITING_FOR_GPU:
        return _after_trouble(observation, ended, trouble) if wanted else None
    now = observation.now
    waiting = [(pod, (pod.created or now) + WAIT) for pod in _waiting(observation, building, active)]
    due = [pod for pod, until in waiting if until <= now]
    later = [until for _, until in waiting if until > now]
    asked = (server.labels.get(LABEL_TARGET, "") for server in servers if _held_for(server, due))
    return Yielding(ended | frozenset(asked), wake=min(later, default=None))


def _after_trouble(observation: Observation, ended: frozenset[str], trouble: Trouble) -> Yielding:
    """The next servers have the GPU and do not get on: for a while that may pass."""
    until = trouble.since + GRACE if trouble.since else observation.now
    return Yielding(ended, wake=until) if until > observation.now else Yielding(give_back=trouble)


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


def _is_over(observation: Observation, rollout: str | None) -> bool:
    """Whether a rollout failed, or handed its GPU back for a while."""
    seen = history.find(observation, rollout) if rollout else None
    if seen is None:
        return False
    failed = history.outcome(seen) == history.FAILED
    return failed or history.given_back_until(seen, observation.now) is not None


def _holder(observation: Observation, building: BuildOutcome) -> PodSeen | None:
    """A server's pod, of the active rollout, on a GPU for which another pod of the ensemble waits."""
    active = history.active_rollout(observation)
    servers = deployments_of(observation, active) if active else []
    waiting = list(_waiting(observation, building, active))
    return next((pod for server in servers for pod in _held_for(server, waiting)), None)


def _held_for(server: DeploymentSeen, waiting: list[PodSeen]) -> list[PodSeen]:
    held = [pod for pod in server.pods if pod.devices and pod.scheduled]
    return [pod for pod in held if any(_same_gpu(pod, other) for other in waiting)]


def _waiting(observation: Observation, building: BuildOutcome, active: str | None) -> Iterator[PodSeen]:
    wanted = building.wanted.rollout_hash() if building.wanted else None
    jobs = [pod for job in observation.jobs if job.name in building.kept_jobs for pod in job.pods]
    servers = deployments_of(observation, wanted) if wanted and wanted != active else []
    for pod in (*jobs, *(pod for server in servers for pod in server.pods)):
        wait = pod_wait(pod)
        if wait is not None and wait.reason is Reason.WAITING_FOR_GPU:
            yield pod


def _same_gpu(one: PodSeen, other: PodSeen) -> bool:
    """Whether what one holds would do for the other, as far as their selectors and claims say."""
    products = {
        pod.node_selector[PRODUCT_LABEL] for pod in (one, other) if PRODUCT_LABEL in pod.node_selector
    }
    shared = set(one.devices) & set(other.devices)
    claimed = CLAIMS in shared and bool(set(one.claim_templates) & set(other.claim_templates))
    return (claimed or bool(shared - {CLAIMS})) and len(products) < 2  # noqa: PLR2004 - of two pods
