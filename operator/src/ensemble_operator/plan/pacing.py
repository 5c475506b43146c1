"""How many servers of two rollouts there may be while requests move from one to the other: plain numbers.

As Kubernetes paces the ReplicaSets of a Deployment, but for two Deployments, and a server counts only once
every node routes to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ensembles_api.spec.rollout import RollingUpdate


@dataclass(frozen=True)
class Pace:
    """Of one target: `wanted` servers, of both rollouts together at most `surge` more, and at most
    `unavailable` less that answer.
    """

    wanted: int
    surge: int
    unavailable: int

    @classmethod
    def of(cls, limits: RollingUpdate, wanted: int) -> Pace:
        return cls(wanted, limits.max_surge, limits.max_unavailable)

    def first(self) -> int:
        """New servers that come, and are verified, before any request reaches them."""
        return min(self.wanted, self.surge or self.unavailable)

    def at_first(self) -> int:
        """Old servers meanwhile. Without a surge they make room."""
        return self.wanted if self.surge else self.wanted - self.first()

    def incoming(self, *, present: int, leaving: int) -> int:
        """Servers that those which come shall be, beside `leaving` ones: never fewer than are there."""
        return min(self.wanted, max(present, self.wanted + self.surge - leaving))

    def leaving(self, *, present: int, known: int) -> int:
        """Servers that those which go shall still be, beside `known` ones that answer: never more again."""
        return min(present, max(0, self.wanted - self.unavailable - known))
