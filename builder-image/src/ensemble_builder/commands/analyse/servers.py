"""Counts the requests of all servers of a rollout while they come and go."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from ensemble_builder.commands.analyse.metrics import Counts, read
from ensemble_builder.commands.verify.servers import addresses

CALL_SECONDS = 5.0
READY = "/v2/health/ready"
OK = 200


@dataclass(frozen=True)
class Ports:
    http: int = 8000
    metrics: int = 8002


@dataclass
class Servers:
    """The servers behind a name, which is resolved anew each time.

    Args:
        host: resolves to the address of every server of the rollout, ready or not.
        model: whose requests count.
    """

    host: str
    model: str
    ports: Ports
    counted: Counts = field(default_factory=Counts)
    before: Counts = field(default_factory=Counts)
    """What they had answered when they were first looked at."""
    silent: dict[str, str] = field(default_factory=dict)
    """Why a server told nothing the last time, by address."""
    _last: dict[str, Counts] = field(default_factory=dict)

    def look(self, pool: Executor) -> None:
        """Add what came since the last look. A server's first look only tells where it stands."""
        found = addresses(self.host, self.ports.metrics)
        told = dict(zip(found, pool.map(self._ask, found), strict=True))
        self.silent = {server: counts for server, counts in told.items() if isinstance(counts, str)}
        self.add({server: counts for server, counts in told.items() if isinstance(counts, Counts)})

    def add(self, told: Mapping[str, Counts]) -> None:
        for server, counts in told.items():
            if server not in self._last:
                self.before += counts
            self.counted += counts.since(self._last.get(server, counts))
            self._last[server] = counts

    @property
    def known(self) -> int:
        """Servers that told something at least once."""
        return len(self._last)

    def _ask(self, server: str) -> Counts | str:
        """Counts, or why there are none."""
        host, _, _ = server.rpartition(":")
        try:
            page = _get(host, self.ports.metrics, "/metrics")
            # One that ends cuts off what it cannot finish: from then on its failures are not the models'.
            _get(host, self.ports.http, READY)
            counts = read(page, self.model)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return counts if counts is not None else f"its metrics do not know model {self.model!r}"


def _get(host: str, port: int, path: str) -> str:
    """The answer's text.

    Raises:
        OSError, http.client.HTTPException: no answer, or another status than 200.
    """
    connection = http.client.HTTPConnection(host.strip("[]"), port, timeout=CALL_SECONDS)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != OK:
        raise ConnectionError(f"{path} answers {answer.status}")
    return text
