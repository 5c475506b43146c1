"""A story that looks at numbers of servers, and the strategies by which these change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ensemble_operator.plan.actions import Plan
from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from tests.unit.plan.story import Story
from tests.unit.plan.world import REVISION, SPEC, condition

OTHER, THIRD = "4" * 64, "5" * 64
NEW_MODELS = SPEC["models"][:2]
ROLLING: dict[str, Any] = {"strategy": "RollingUpdate", "retainSeconds": 0, "watchSeconds": 0}
SCARCE = {**ROLLING, "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
RECREATE: dict[str, Any] = {"strategy": "Recreate", "retainSeconds": 0, "watchSeconds": 0}
CANARY: dict[str, Any] = {
    "strategy": "Canary",
    "retainSeconds": 0,
    "watchSeconds": 0,
    "canary": {"steps": [{"weight": 25, "pauseSeconds": 60}, {"weight": 50, "waitForApproval": True}]},
}


class Fleet(Story):
    """A story that looks at numbers of servers."""

    proven: frozenset[str] = frozenset()
    """Rollouts of which servers have been verified."""

    def step(self, seconds: float = 1, *, killed_after: int | None = None) -> Plan:
        self.proven |= {self.of(job.labels) for job in self.jobs("verify") if job.state == "succeeded"}
        return super().step(seconds, killed_after=killed_after)

    def begin(self, replicas: int, rollout: dict[str, Any]) -> None:
        """`replicas` servers of the first revision serve, alone."""
        self.replicas, self.rollout = replicas, rollout
        self.change(serving={"replicas": replicas}, rollout=rollout)
        self.until_ready()
        self.play(REVISION, 12)
        assert self.reason == "Ready"
        self.old = self.active

    def to_first_step(self, replicas: int, rollout: dict[str, Any]) -> None:
        """Servers of a second revision begin to get a share of the requests."""
        self.begin(replicas, rollout)
        self.want()
        self.until("Stepping")

    def want(self, models: list[dict[str, Any]] = NEW_MODELS, **rollout: Any) -> None:
        self.rollout = {**self.rollout, **rollout}
        self.change(models=models, serving={"replicas": self.replicas}, rollout=self.rollout)

    def play(self, revision: str, steps: int = 30, seconds: float = 2) -> None:
        for _ in range(steps):
            self.step(seconds)
            self.cluster_moves(revision)

    def numbers(self) -> tuple[int, int]:
        """Servers of the first rollout, and of all others."""
        old = sum(d.replicas for d in self.seen.deployments if self.of(d.labels) == self.old)
        return old, sum(d.replicas for d in self.seen.deployments) - old

    def reached(self) -> list[PodSeen]:
        """Pods that the Service leads to."""
        selected = self.selector.get("ensembles.dev/rollout")
        return [
            pod
            for d in self.seen.deployments
            for pod in d.pods[: d.ready_replicas]
            if pod.ready and selected in {None, self.of(d.labels)}
        ]

    @staticmethod
    def of(labels: Any) -> str:
        return str(labels["ensembles.dev/rollout"])

    def until_numbers(self, holds: Callable[[int, int], bool], *, moves: bool = True) -> None:
        """Play until the numbers of old and new servers are so; `moves`: the cluster acts after that, too."""
        for _ in range(60):
            self.step(2)
            if not moves and holds(*self.numbers()):
                return
            self.cluster_moves(OTHER)
            if moves and holds(*self.numbers()):
                return
        raise AssertionError(f"{self.numbers()}, {self.reason}")

    def until(self, reason: str, revision: str = OTHER) -> None:
        for _ in range(60):
            if self.reason == reason:
                return
            self.play(revision, 1)
        raise AssertionError(f"{self.reason} instead of {reason}")

    def first_server_crashes(self, passes: int) -> None:
        """The first new server ends again and again, before anybody asks it: the old ones stay, or return."""
        self.until_numbers(lambda _, new: new > 0, moves=False)
        self.servers_ready()
        self.crash()
        for _ in range(passes):
            self.step(2)
            self.servers_ready(self.old)
        assert self.reason == "LoadFailed"
        assert condition(self.last, "Stalled")
        assert self.numbers() == (self.replicas, 0)
        assert len(self.reached()) == self.replicas

    def crash(self) -> None:
        """A server of the newest rollout ends again and again."""
        newest = max(self.seen.rollouts, key=lambda r: r.number).name.rpartition("-")[2]
        ended = ContainerSeen(
            name="tritonserver", exit_code=1, restarts=3, termination_message="error: broken"
        )
        (target,) = [d for d in self.seen.deployments if self.of(d.labels) == newest]
        last = replace(target.pods[-1], ready=False, ready_since=None, containers=(ended,))
        broken = replace(target, pods=(*target.pods[:-1], last), ready_replicas=len(target.pods) - 1)
        rest = tuple(d for d in self.seen.deployments if d.name != target.name)
        self.seen = replace(self.seen, deployments=(*rest, broken))
