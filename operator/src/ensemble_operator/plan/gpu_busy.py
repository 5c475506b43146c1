"""A GPU that the ensemble's own servers hold, while its build or its next servers wait for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Create
from ensemble_operator.plan.chain import BuildOutcome
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.jobs import first_failure_of, pod_wait
from ensemble_operator.plan.observation import CLAIMS, DeploymentSeen, Observation, PodSeen
from ensemble_operator.plan.sharing import taking_over
from ensemble_operator.plan.stage import ServeOutcome
from ensemble_operator.plan.trouble import GRACE, Trouble
from ensemble_operator.resources.gpu import PRODUCT_LABEL
from ensembles_api.names import LABEL_ROLE, LABEL_TARGET
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu
from ensembles_api.spec.rollout import Rollout, Strategy

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

    Once they have ended, for that or by strategy, they stay so while the work goes on that has their GPU, or
    waits for it, and come back where it does not. For a build that fails again and again they end no more:
    each attempt would be an outage. None: all stay.
    """
    spec, active = observation.spec, history.active_rollout(observation)
    if spec is None or building is None or active is None or not spec.serving.replicas:
        return None
    wanted = building.wanted.rollout_hash() if building.wanted else None
    if wanted == active or _is_over(observation, wanted):
        return None
    servers = deployments_of(observation, active)
    ended = frozenset(server.labels.get(LABEL_TARGET, "") for server in servers if not server.replicas)
    held = history.is_held(spec.rollout, history.find(observation, wanted) if wanted else None)
    stops = spec.build.when_gpu_busy == "StopServing" and not (held and not ended)
    if not stops and not _may_end_all(spec.rollout):
        return None
    trouble = building.trouble or serving.trouble
    begun = wanted is not None and taking_over(observation) == wanted
    if ended and trouble is not None and trouble.reason is not Reason.WAITING_FOR_GPU and not begun:
        return _after_trouble(observation, ended, trouble) if wanted else None
    if not stops:
        return None
    now = observation.now
    failing = _failing(observation, building)
    pods = (pod for pod in _waiting(observation, building, active) if pod.uid not in failing)
    # No server has what no node has.
    pods = (pod for pod in pods if not _absent_products(observation, [pod]))
    waiting = [(pod, (pod.created or now) + WAIT) for pod in pods]
    due = [pod for pod, until in waiting if until <= now]
    later = [until for _, until in waiting if until > now]
    asked = (server.labels.get(LABEL_TARGET, "") for server in servers if _held_for(server, due))
    begins = _begins_until(observation, building)
    still = ended if wanted is not None or begins else _still_given(observation, building, active) & ended
    times = [*later, *([begins] if begins and begins > now else [])]
    return Yielding(still | frozenset(asked), wake=min(times, default=None))


def _begins_until(observation: Observation, building: BuildOutcome) -> datetime | None:
    """Until when nobody knows whether the next Job, which has no pod yet, asks for a GPU; or whether builds
    or new servers follow, which a later round of the assembler tells. None: it is known.
    """
    now = observation.now
    jobs = [job for job in observation.jobs if job.name in building.kept_jobs and job.state == "active"]
    without = [job.created + WAIT for job in jobs if not job.pods and job.created + WAIT > now]
    created = any(
        isinstance(action, Create) and action.manifest["kind"] == "Job" for action in building.actions
    )
    moment = building.anew and (created or building.step is Reason.ASSEMBLING)
    return max([*without, *([now] if moment else [])], default=None)


def _still_given(observation: Observation, building: BuildOutcome, active: str) -> frozenset[str]:
    """Targets of the rollout whose GPU a pod of the builds holds or waits for."""
    rollout = history.find(observation, active)
    pods = [pod for pod in _of_jobs(observation, building) if pod.devices and not pod.ended]
    return frozenset(
        target.name
        for target in (rollout.data.targets if rollout else ())
        if target.gpu is not None and any(_same_gpu(_gpu_of(target.gpu), _gpu_of_pod(pod)) for pod in pods)
    )


def _may_end_all(settings: Rollout) -> bool:
    """Whether the strategy may leave nothing that serves, before the new servers do."""
    rolling = settings.strategy is Strategy.ROLLING_UPDATE and not settings.rolling_update.max_surge
    return settings.strategy is Strategy.RECREATE or rolling


def _after_trouble(observation: Observation, ended: frozenset[str], trouble: Trouble) -> Yielding:
    """The next servers have the GPU and do not get on: for a while that may pass."""
    until = trouble.since + GRACE if trouble.since else observation.now
    return Yielding(ended, wake=until) if until > observation.now else Yielding(give_back=trouble)


def told_of(building: BuildOutcome, ended: frozenset[str]) -> BuildOutcome:
    """Lane A's outcome; where servers are away for what it builds its words say so."""
    if building.wanted is not None or not ended:
        return building
    down = f"; the servers of target {', '.join(sorted(ended))} are down for it (spec.build.whenGPUBusy)"
    trouble = building.trouble
    if trouble is not None:
        trouble = replace(trouble, message=trouble.message + down)
    return replace(building, message=building.message + down, trouble=trouble)


def explained(observation: Observation, building: BuildOutcome, trouble: Trouble | None) -> Trouble | None:
    """The trouble, naming the ensemble's own pod where that one holds the GPU, or that there is no such GPU,
    and what can be done.
    """
    if trouble is None or trouble.reason is not Reason.WAITING_FOR_GPU:
        return trouble
    if absent := _absent(observation, building):
        return replace(trouble, message=f"{trouble.message}; {absent}")
    holder = _holder(observation, building)
    if holder is None or observation.spec is None:
        return trouble
    held = f"{trouble.message}; this ensemble's own server {holder.name} holds one"
    stops = observation.spec.build.when_gpu_busy == "StopServing"
    if holder.deleting or (stops and not _only_failing_wait(observation, building)):
        return replace(trouble, message=f"{held} and is being ended")
    if stops:
        return replace(
            trouble,
            message=f"{held}, and is not ended for it again, as the build has failed before: mend what made "
            "it fail and set the annotation ensembles.dev/requestedAt, or add a GPU",
        )
    if building.wanted is None:
        return replace(
            trouble,
            message=f"{held}: add a GPU, or set spec.build.whenGPUBusy to StopServing to end it until the "
            "new ones serve",
        )
    return replace(trouble, reason=Reason.GPU_EXHAUSTED, message=f"{held}: {CHOICES}")


def _absent(observation: Observation, building: BuildOutcome) -> str:
    """That no node bears the product waited for; empty where one does, or nodes cannot be read. No failure: a
    cluster that grows on demand may still get one.
    """
    waiting = _waiting(observation, building, history.active_rollout(observation))
    absent = _absent_products(observation, waiting)
    if not absent:
        return ""
    there = sorted({offer.product for offer in observation.gpu_offers or ()})
    return (
        f"no node is labelled {PRODUCT_LABEL}={', '.join(absent)} (there are {', '.join(there) or 'none'}): "
        "correct spec.serving.targets[].gpu.product, or add such a node"
    )


def _absent_products(observation: Observation, waiting: Iterable[PodSeen]) -> list[str]:
    """What the pods ask for and no node bears; none where nodes cannot be read."""
    if observation.gpu_offers is None:
        return []
    products = {pod.node_selector.get(PRODUCT_LABEL, "") for pod in waiting}
    return sorted(products - {"", *(offer.product for offer in observation.gpu_offers)})


CHOICES = (
    "add a GPU, or set spec.rollout.strategy to Recreate (an outage), or to RollingUpdate with maxSurge 0 "
    "and maxUnavailable 1 (one server less meanwhile)"
)
"""Where the old servers hold every GPU. The operator chooses none of it: nobody asked for an outage."""


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
    held = [pod for server in servers for pod in _held_for(server, waiting)]
    # One that ends just now frees its GPU in a moment: then nothing is exhausted.
    return max(held, key=lambda pod: pod.deleting, default=None)


def _held_for(server: DeploymentSeen, waiting: list[PodSeen]) -> list[PodSeen]:
    held = [pod for pod in server.pods if pod.devices and pod.scheduled and not pod.ended]
    return [pod for pod in held if any(_same_gpu(_gpu_of_pod(pod), _gpu_of_pod(other)) for other in waiting)]


def _of_jobs(observation: Observation, building: BuildOutcome) -> list[PodSeen]:
    return [pod for job in observation.jobs if job.name in building.kept_jobs for pod in job.pods]


def _failing(observation: Observation, building: BuildOutcome) -> frozenset[str]:
    """Pods, by uid, of builds whose first attempt failed a while ago, and since they were asked for: a Job
    that waits becomes that of a later request, too.
    """
    kept = [job for job in observation.jobs if job.name in building.kept_jobs]
    asked = min((job.created for job in kept if job.labels[LABEL_ROLE] == "assemble"), default=None)
    if asked is None:
        return frozenset()
    until = observation.now - GRACE
    return frozenset(
        pod.uid
        for job in kept
        if (failed := first_failure_of(job)) and asked <= failed < until
        for pod in job.pods
    )


def _only_failing_wait(observation: Observation, building: BuildOutcome) -> bool:
    failing = _failing(observation, building)
    waiting = _waiting(observation, building, history.active_rollout(observation))
    return all(pod.uid in failing for pod in waiting)


def _waiting(observation: Observation, building: BuildOutcome, active: str | None) -> Iterator[PodSeen]:
    wanted = building.wanted.rollout_hash() if building.wanted else None
    servers = deployments_of(observation, wanted) if wanted and wanted != active else []
    for pod in (*_of_jobs(observation, building), *(pod for server in servers for pod in server.pods)):
        wait = pod_wait(pod)
        if wait is not None and wait.reason is Reason.WAITING_FOR_GPU:
            yield pod


@dataclass(frozen=True)
class _Asked:
    """Which GPU somebody asks for: by resources or claims, of a product where one is named."""

    devices: frozenset[str]
    claim_templates: frozenset[str]
    product: str


def _gpu_of_pod(pod: PodSeen) -> _Asked:
    product = pod.node_selector.get(PRODUCT_LABEL, "")
    return _Asked(frozenset(pod.devices), frozenset(pod.claim_templates), product)


def _gpu_of(gpu: Gpu) -> _Asked:
    """As the pods of a target ask for it."""
    if gpu.resource_claim_template_name:
        return _Asked(frozenset({CLAIMS}), frozenset({gpu.resource_claim_template_name}), "")
    return _Asked(frozenset({gpu.resource_name}), frozenset(), gpu.product or "")


def _same_gpu(one: _Asked, other: _Asked) -> bool:
    """Whether what one holds would do for the other, as far as their selectors and claims say."""
    shared = one.devices & other.devices
    claimed = CLAIMS in shared and bool(one.claim_templates & other.claim_templates)
    products = {one.product, other.product} - {""}
    return (claimed or bool(shared - {CLAIMS})) and len(products) < 2  # noqa: PLR2004 - of two
