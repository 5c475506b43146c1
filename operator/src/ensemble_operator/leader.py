"""One active replica, chosen by a Lease as client-go does it.

A Lease counts as expired by the watcher's own clock, from when its record was last seen to change: clocks of
different machines are never compared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from ensemble_operator.cluster.kinds import LEASE
from ensemble_operator.queue import Clock

Object = Mapping[str, Any]

LEASE_NAME = "ensemble-operator"

_log = logging.getLogger(__name__)


class LeadershipLostError(Exception):
    """The Lease could not be renewed in time: another replica may be working already."""


@dataclass(frozen=True)
class Timing:
    """Seconds; the defaults are those of Kubernetes' own controllers."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class Leader:
    """Takes part in the election.

    Args:
        identity: of this process; unique.
        beat: called whenever the election goes on.
    """

    def __init__(
        self,
        api: KubernetesApi,
        *,
        namespace: str,
        identity: str,
        clock: Clock,
        now: Callable[[], datetime],
        beat: Callable[[], None],
        timing: Timing = Timing(),
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._now = now
        self._beat = beat
        self._timing = timing
        self._never = asyncio.Event()
        self._seen: tuple[object, float] | None = None
        """The record of the present holder, and when it was first seen like this."""
        # Renewing must not queue behind passes in the default pool.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lease")

    async def acquire(self) -> None:
        """Wait until this process is the leader."""
        while True:
            self._beat()
            try:
                if await self._in_thread(self._try):
                    return
            except ConflictError:
                pass  # another replica was faster
            except ApiError as error:
                _log.warning("lease cannot be read or written", extra={"error": str(error)})
            await self._clock.wait(self._never, until=self._clock.monotonic() + self._timing.retry)

    async def keep(self) -> None:
        """Renew until cancelled.

        Raises:
            LeadershipLostError: it was taken, or could not be renewed before the deadline.
        """
        renewed = self._clock.monotonic()
        while True:
            await self._clock.wait(self._never, until=self._clock.monotonic() + self._timing.retry)
            deadline = renewed + self._timing.renew_deadline
            try:
                async with asyncio.timeout(max(0.1, deadline - self._clock.monotonic())):
                    held = await self._in_thread(self._try)
            except (ApiError, TimeoutError) as error:
                _log.warning("lease not renewed", extra={"error": str(error) or "timeout"})
                if self._clock.monotonic() >= deadline:
                    raise LeadershipLostError("the lease could not be renewed in time") from error
                continue
            if not held:
                raise LeadershipLostError("another replica took the lease")
            renewed = self._clock.monotonic()
            self._beat()

    async def release(self) -> None:
        """Give the Lease up, so that the next leader need not wait for its end."""
        try:
            await self._in_thread(self._release)
        except ApiError as error:
            _log.warning("lease not released", extra={"error": str(error)})
        finally:
            self._thread.shutdown(wait=False)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _try(self) -> bool:
        """Take or renew the Lease; whether we hold it."""
        try:
            lease = self._api.get(LEASE, self._namespace, LEASE_NAME)
        except NotFoundError:
            return self._create()
        if not self._may_take(lease):
            return False
        self._api.replace(LEASE, self._written(lease))
        return True

    def _may_take(self, lease: Object) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != record:
            self._seen = (record, now)
        if holder in ("", self._identity):
            return True
        return now >= self._seen[1] + float(spec.get("leaseDurationSeconds") or self._timing.duration)

    def _create(self) -> bool:
        try:
            self._api.create(LEASE, self._written(None))
        except AlreadyExistsError:
            return False
        return True

    def _written(self, lease: Object | None) -> Object:
        """The Lease as ours, keeping what is not the election's."""
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (lease or {}).get("spec") or {}
        spec = {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._timing.duration),
            "renewTime": now,
        }
        if old.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = (old.get("leaseTransitions") or 0) + (1 if lease else 0)
        metadata = lease["metadata"] if lease else {"namespace": self._namespace, "name": LEASE_NAME}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}

    def _release(self) -> None:
        lease = self._api.get(LEASE, self._namespace, LEASE_NAME)
        if (lease.get("spec") or {}).get("holderIdentity") != self._identity:
            return
        written = self._written(lease)
        released = {**written["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        self._api.replace(LEASE, {**written, "spec": released})
