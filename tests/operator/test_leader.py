"""The election, on a real API server."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import NotFoundError
from ensemble_operator.cluster.kinds import LEASE
from ensemble_operator.leader import LEASE_NAME, Leader, LeadershipLostError, Timing
from ensemble_operator.queue import LoopClock
from tests.operator.conftest import StartOperator
from tests.operator.control_plane import eventually

pytestmark = pytest.mark.apiserver

QUICK = Timing(duration=3.0, renew_deadline=2.0, retry=0.2)

MakeLeader = Callable[[str], Leader]


@pytest.fixture
def make_leader(api: KubernetesApi, namespace: str) -> MakeLeader:
    def make(identity: str) -> Leader:
        return Leader(
            api,
            namespace=namespace,
            identity=identity,
            clock=LoopClock(),
            now=lambda: datetime.now(UTC),
            beat=lambda: None,
            timing=QUICK,
        )

    return make


def holder(api: KubernetesApi, namespace: str) -> str:
    try:
        return str(api.get(LEASE, namespace, LEASE_NAME)["spec"].get("holderIdentity", ""))
    except NotFoundError:
        return ""


def test_second_waits_until_the_first_releases(
    make_leader: MakeLeader, api: KubernetesApi, namespace: str
) -> None:
    async def main() -> None:
        first, second = make_leader("first"), make_leader("second")
        await asyncio.wait_for(first.acquire(), 5)
        keeping = asyncio.create_task(first.keep())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(QUICK.duration + 1)
        assert not waiting.done(), "a Lease that is renewed does not expire"
        keeping.cancel()
        await first.release()
        started = time.monotonic()
        await asyncio.wait_for(waiting, 5)
        assert time.monotonic() - started < QUICK.duration, "a released Lease is free at once"
        lease = api.get(LEASE, namespace, LEASE_NAME)["spec"]
        assert (lease["holderIdentity"], lease["leaseTransitions"]) == ("second", 1)

    asyncio.run(main())


def test_lease_of_a_dead_leader_expires(make_leader: MakeLeader) -> None:
    async def main() -> None:
        first, second = make_leader("first"), make_leader("second")
        await first.acquire()
        started = time.monotonic()
        await asyncio.wait_for(second.acquire(), 10)
        assert time.monotonic() - started >= QUICK.duration * 0.9
        with pytest.raises(LeadershipLostError, match="another replica"):
            await asyncio.wait_for(first.keep(), 5)

    asyncio.run(main())


def test_leader_that_cannot_renew_gives_up_before_the_lease_ends(
    make_leader: MakeLeader, api: KubernetesApi
) -> None:
    async def main() -> None:
        leader = make_leader("first")
        await leader.acquire()
        configuration = api._client.configuration
        host, configuration.host = configuration.host, "https://127.0.0.1:1"
        started = time.monotonic()
        try:
            with pytest.raises(LeadershipLostError, match="in time"):
                await asyncio.wait_for(leader.keep(), 10)
        finally:
            configuration.host = host
        assert time.monotonic() - started < QUICK.duration

    asyncio.run(main())


def test_only_one_of_many_becomes_leader(make_leader: MakeLeader) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(make_leader(f"replica-{number}").acquire()) for number in range(5)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(QUICK.duration / 3)
        assert sum(task.done() for task in tasks) == 1
        for task in tasks:
            task.cancel()

    asyncio.run(main())


def test_hand_over_between_processes(
    start_operator: StartOperator, api: KubernetesApi, namespace: str
) -> None:
    options = ("--namespace", namespace)
    first = start_operator(*options)
    first.wait_for('"working"')
    second = start_operator(*options)
    eventually(lambda: second.log.exists() and _healthy(second.ask), what="the standby answers its probes")
    assert second.ask("/readyz")[0] == 200
    assert "ensemble_operator_leader 0.0" in second.metrics()
    assert "ensemble_operator_leader 1.0" in first.metrics()
    assert not second.logged("became leader")

    former = holder(api, namespace)
    assert first.end() == 0, "SIGTERM is an orderly end"
    assert holder(api, namespace) != former, "released, not left to expire"
    second.wait_for('"working"')

    idle = start_operator(*options)
    eventually(lambda: _healthy(idle.ask), what="the standby answers its probes")
    assert idle.end() == 0, "a standby ends in order, too"
    third = start_operator(*options)
    eventually(lambda: _healthy(third.ask), what="the standby answers its probes")
    second.kill()
    third.wait_for('"working"', seconds=30)


def test_leader_that_was_frozen_ends_itself(
    start_operator: StartOperator, api: KubernetesApi, namespace: str
) -> None:
    first = start_operator("--namespace", namespace)
    first.wait_for('"working"')
    second = start_operator("--namespace", namespace)
    first.send(signal.SIGSTOP)
    second.wait_for('"working"', seconds=40)
    new = holder(api, namespace)
    first.send(signal.SIGCONT)
    assert first.process.wait(60) == 1
    assert first.logged("leadership lost")
    assert holder(api, namespace) == new


def _healthy(ask: Callable[[str], tuple[int, str]]) -> bool:
    try:
        return ask("/healthz")[0] == 200
    except OSError:
        return False
