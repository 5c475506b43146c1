"""For spec.rollout.watchSeconds after its promotion a new rollout is watched: where its servers fail, it is
marked failed, and the Service goes back to the rollout that it replaced, whose servers still run.

What the world does to servers is not held against them: pods that are evicted or whose node is lost, pods
that were made after the promotion and still fetch or load, containers that ended with their node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_operator.config import OperatorConfig
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action
from ensemble_operator.plan.analysing import WATCH_STEP, AnalysisVerdict, measured
from ensemble_operator.plan.failing import failure_note, what_failed
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.observation import ContainerSeen, Observation, PodSeen, RolloutSeen
from ensemble_operator.plan.serving_pods import crash, unready_container
from ensemble_operator.plan.stage import ServeOutcome, Stage
from ensemble_operator.plan.strategies import advance
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.jobs import Measurement
from ensemble_operator.resources.rollout import ANNOTATION_RETIRED_AT
from ensembles_api.reasons import Reason
from ensembles_api.spec.rollout import Rollout

UNREADY = timedelta(seconds=15)
"""So long a server may be unready, beyond the 15 s that its probe takes to notice, while others answer."""
NONE_READY = timedelta(seconds=5)
"""So long all may be: meanwhile no client is answered."""
MEASURED = timedelta(seconds=120)
"""So much later than the watch its analysis may end: its Job must start first."""
CRASH_LOOP = "CrashLoopBackOff"
NODE_ENDED = "Unknown"
"""terminated.reason of a container that ended while its node did not tell of it."""


@dataclass(frozen=True)
class Watch:
    """What watching found: a failure, or until when to watch."""

    failed: Trouble | None = None
    wake: datetime | None = None
    actions: tuple[Action, ...] = ()
    """The analysis to begin."""


def retain_seconds(settings: Rollout) -> int:
    """How long the servers of a replaced rollout stay: there must be something to go back to."""
    watched = settings.watch_seconds + _margin(settings).seconds if settings.watch_seconds else 0
    return max(settings.retain_seconds, watched)


def _margin(settings: Rollout) -> timedelta:
    """How long after the watch a failure that began within it may show."""
    return UNREADY if settings.analysis is None else MEASURED


def watch(observation: Observation, config: OperatorConfig, settings: Rollout, active: str | None) -> Watch:
    """Look at the servers of the rollout that clients reach.

    A rollout that served before is not watched: what it replaced is no better.
    """
    rollout = history.find(observation, active) if active else None
    promoted = history.moment(history.promoted_at(rollout)) if rollout else None
    if rollout is None or promoted is None or ANNOTATION_RETIRED_AT in rollout.annotations:
        return Watch()
    until = promoted + timedelta(seconds=settings.watch_seconds)
    over = until + _margin(settings)
    former = history.replaced_by(observation, rollout, still=history.SUPERSEDED)
    if not settings.watch_seconds or observation.now > over or former is None:
        return Watch()
    found = list(_failures(observation, rollout, promoted=promoted, until=until))
    due = [failure for failure in found if failure.since is None or failure.since <= observation.now]
    verdict = _measured(observation, config, settings, rollout, former)
    failed = due[0] if due else verdict.failed
    if failed is not None:
        return Watch(failed=_told(rollout, failed, after=observation.now - promoted))
    again = [verdict.wake] if verdict.wake and verdict.wake > observation.now else []
    wake = min([over, *again, *(failure.since for failure in found if failure.since)])
    return Watch(wake=wake, actions=verdict.actions if observation.now <= until else ())


def _measured(
    observation: Observation,
    config: OperatorConfig,
    settings: Rollout,
    rollout: RolloutSeen,
    former: RolloutSeen,
) -> AnalysisVerdict:
    """What Triton's metrics say. The former servers get no requests now: their failures till then count."""
    promoted = history.moment(history.promoted_at(rollout))
    if settings.analysis is None or promoted is None:
        return AnalysisVerdict(passed=True)
    measurement = Measurement(
        rollout=history.rollout_name(rollout),
        against=history.rollout_name(former),
        step=WATCH_STEP,
        seconds=settings.watch_seconds,
        since=promoted,
    )
    return measured(observation, config, rollout.data, measurement=measurement, bounds=settings.analysis)


def mark(observation: Observation, outcome: ServeOutcome, failed: Trouble) -> ServeOutcome:
    """The failure noted first: whoever comes next goes back, even if the servers recover meanwhile."""
    rollout = history.find(observation, outcome.active or "")
    assert rollout is not None  # noqa: S101 - it is what was watched
    return replace(
        outcome,
        wanted=outcome.active,
        step=Reason.PROMOTING,
        message="going back to the former servers",
        trouble=failed,
        actions=(*outcome.actions, failure_note(observation, rollout, failed)),
    )


def back_to(observation: Observation, active: str | None) -> RolloutSeen | None:
    """The rollout to go back to, where the one that clients reach is marked as failed."""
    rollout = history.find(observation, active) if active else None
    if rollout is None or history.outcome(rollout) != history.FAILED:
        return None
    return history.replaced_by(observation, rollout, still=history.SUPERSEDED)


def go_back(stage: Stage) -> ServeOutcome:
    """The next step back to `stage.wanted`, as to any wanted rollout; what is reported is the failure."""
    outcome = advance(stage)
    failed = history.find(stage.observation, stage.active or "")
    assert failed is not None  # noqa: S101 - it is what is gone back from
    trouble = what_failed(failed)
    if outcome.trouble is not None:
        trouble = replace(trouble, message=f"{trouble.message}; going back: {outcome.trouble.what()}")
    return replace(outcome, wanted=stage.active, trouble=trouble)


def _failures(
    observation: Observation, rollout: RolloutSeen, *, promoted: datetime, until: datetime
) -> Iterator[Trouble]:
    """What counts against the rollout, or will from `since` on."""
    deployments = deployments_of(observation, history.rollout_name(rollout))
    pods = [pod for deployment in deployments for pod in deployment.pods if not _of_the_world(pod)]
    none_ready = not any(pod.ready for pod in pods)
    for pod in pods:
        server = unready_container(pod)
        crashed = crash(pod, tuple(rollout.data.serving.extra_args)) if not pod.ready else None
        if crashed is not None and server is not None and (server.finished_at or until) <= until:
            yield crashed
        elif server is not None and _lost_readiness(pod, server, promoted=promoted, until=until):
            lost = pod.not_ready_since or observation.now
            grace = NONE_READY if none_ready else UNREADY
            yield Trouble(Reason.LOAD_FAILED, _unready(pod, server, lost), since=lost + grace)


def _of_the_world(pod: PodSeen) -> bool:
    return pod.deleting or pod.disrupted or bool(pod.reason) or not pod.scheduled


def _lost_readiness(pod: PodSeen, server: ContainerSeen, *, promoted: datetime, until: datetime) -> bool:
    """Whether the kubelet calls a server unready that was ready when clients came.

    Where a node is lost, the API server says that the pod is unready, and the kubelet says nothing.
    """
    at_work = server.running or server.waiting_reason == CRASH_LOOP
    lost = pod.not_ready_since
    return (
        at_work
        and not server.ready
        and server.terminated_reason != NODE_ENDED
        and pod.created is not None
        and pod.created <= promoted
        and lost is not None
        and promoted <= lost <= until
    )


def _unready(pod: PodSeen, server: ContainerSeen, lost: datetime) -> str:
    ended = ""
    if server.restarts and server.exit_code is not None:
        ended = f", after {server.name} had ended with exit code {server.exit_code}"
    return f"pod {pod.name} has not been ready since {lost:%H:%M:%S}Z{ended}"


def _told(rollout: RolloutSeen, failure: Trouble, *, after: timedelta) -> Trouble:
    cure = "correct the spec, or annotate ensembles.dev/requestedAt to try the same again"
    return Trouble(
        Reason.FAILED_AFTER_PROMOTION,
        f"revision {rollout.data.revision[:12]} failed {after.total_seconds():.0f} s after its promotion: "
        f"{failure.what()}; {cure}",
    )
