"""The running operator: puts the parts together, runs them, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import kopf
from kubernetes.client import Configuration
from prometheus_client import start_http_server

from ensemble_operator import health, watchdog
from ensemble_operator.apply.executor import Executor
from ensemble_operator.apply.report import Reporter
from ensemble_operator.cluster.client import connect
from ensemble_operator.cluster.errors import ApiError, NotFoundError
from ensemble_operator.cluster.kinds import ENSEMBLE
from ensemble_operator.config import OperatorConfig
from ensemble_operator.handlers import build_registry, build_settings
from ensemble_operator.leader import Leader, LeadershipLostError
from ensemble_operator.metrics.collectors import EnsembleCollector, QueueCollector, QueueFigures
from ensemble_operator.metrics.families import Metrics
from ensemble_operator.metrics.jobs import JobCounts
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.observe.config_maps import FRESH_SECONDS, UserConfigMaps
from ensemble_operator.observe.gpus import GpuNodes
from ensemble_operator.observe.observer import Observer
from ensemble_operator.observe.optional import POLL_SECONDS, OptionalKinds
from ensemble_operator.observe.routing import Key
from ensemble_operator.plan import planner
from ensemble_operator.queue import Backoff, LoopClock, WorkQueue
from ensemble_operator.reconcile import Reconciler
from ensemble_operator.workers import Workers

LOOP_BEAT_SECONDS = 1.0
LOOP_LIMIT_SECONDS = 30.0
LEASE_LIMIT_SECONDS = 60.0
FINISH_SECONDS = 20.0
"""How long running passes may take when the process is asked to end."""
FILL_RETRY_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        namespace: where the Lease is.
        elect: take part in the election; without, there must be no other replica.
        health_port: of /healthz and /readyz; 0 picks a free one.
        metrics_port: of /metrics; 0 turns it off.
    """

    namespace: str
    elect: bool = True
    health_port: int = 8080
    metrics_port: int = 9090
    workers: int = 4


def utc_now() -> datetime:
    return datetime.now(UTC)


class Runtime:
    """One operator process; made and run in the same event loop."""

    def __init__(self, config: OperatorConfig, cluster: Configuration, options: Options) -> None:
        self._options = options
        self._namespaces = tuple(config.watch_namespaces)
        self._scopes: tuple[watchdog.Scope, ...] = self._namespaces or (None,)
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._stop = asyncio.Event()
        self._identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._cluster = cluster
        self._metrics = Metrics()
        self._api = connect(cluster, connections=options.workers * 2 + 8, failed=self._count_api_error)
        self._cache = ObjectCache()
        self._job_counts = JobCounts(self._metrics, since=utc_now())
        self._heartbeats = health.Heartbeats(monotonic=time.monotonic)
        self._config_maps = UserConfigMaps(self._api, monotonic=time.monotonic)
        self._optional = OptionalKinds(self._api, self._cache, self._scopes)
        self._queue: WorkQueue[Key] = WorkQueue(
            clock=LoopClock(), backoff=Backoff(), rng=self._rng, waited=self._metrics.queue_wait.observe
        )
        self._metrics.registry.register(EnsembleCollector(self._cache))
        self._metrics.registry.register(QueueCollector(self._queue_figures))
        self._reconciler = self._build_reconciler(config)
        self._watchdog = watchdog.Watchdog(
            api=self._api,
            cache=self._cache,
            enqueue=self._enqueue_from_thread,
            heartbeats=self._heartbeats,
            metrics=self._metrics,
            scopes=self._scopes,
        )
        self._loop = asyncio.get_running_loop()

    def _enqueue_from_thread(self, key: Key) -> None:
        self._loop.call_soon_threadsafe(self._queue.add, key)

    def _build_reconciler(self, config: OperatorConfig) -> Reconciler:
        return Reconciler(
            observer=Observer(
                self._api,
                self._cache,
                self._config_maps,
                GpuNodes(self._api, readable=config.node_reader, monotonic=time.monotonic),
                optional=self._optional,
                now=utc_now,
            ),
            executor=Executor(self._api, self._cache),
            reporter=Reporter(
                self._api, self._cache, instance=os.environ.get("POD_NAME", socket.gethostname()), now=utc_now
            ),
            plan=lambda observation: planner.plan(observation, config),
            plan_failure=lambda observation, told: planner.report_failure(
                observation, reason=told.reason, field=told.field, message=told.message
            ),
            metrics=self._metrics,
            job_counts=self._job_counts,
        )

    async def run(self) -> None:
        """Run until a signal comes; a lost Lease ends the process."""
        self._take_signals()
        probes = health.serve(self._heartbeats, port=self._options.health_port)
        if self._options.metrics_port:
            start_http_server(self._options.metrics_port, registry=self._metrics.registry)
        async with _background(self._beat(), name="event loop"):
            if self._options.elect:
                await self._lead()
            else:
                await self._work()
        probes.shutdown()
        _log.info("stopped")

    async def _lead(self) -> None:
        leader = Leader(
            self._api,
            namespace=self._options.namespace,
            identity=self._identity,
            clock=LoopClock(),
            now=utc_now,
            beat=lambda: self._heartbeats.beat("lease", within=LEASE_LIMIT_SECONDS),
        )
        self._heartbeats.set_ready(ready=True)  # a standby is as ready as it should be
        async with _background(leader.acquire(), name="election") as acquired:
            await self._first_of(acquired)
            if not acquired.done():
                return
            await acquired
        _log.info("became leader", extra={"identity": self._identity})
        async with _background(_keep(leader), name="lease") as kept:
            try:
                await self._work(kept)
            finally:
                kept.cancel()
                await leader.release()

    async def _work(self, *others: asyncio.Task[None]) -> None:
        """Work as the only active replica until asked to stop, or until one of `others` ends."""
        self._metrics.leader.set(1)
        self._job_counts.lead(utc_now())
        if not await self._fill():
            return
        for resource in self._cache.all(ENSEMBLE):
            self._queue.add(Key(resource["metadata"]["namespace"], resource["metadata"]["name"]))
        workers = Workers(
            self._queue,
            self._reconciler.reconcile,
            count=self._options.workers,
            heartbeats=self._heartbeats,
            now=utc_now,
            rng=self._rng,
        )
        checks = self._every(watchdog.INTERVAL_SECONDS, self._check_watches)
        polls = self._every(FRESH_SECONDS, self._poll_config_maps)
        lists = self._every(POLL_SECONDS, self._poll_optional)
        async with (
            _background(workers.run(), name="workers") as working,
            _background(checks, name="watchdog") as watch,
            _background(polls, name="config maps") as poll,
            _background(lists, name="optional kinds") as listing,
            # kopf takes every task that begins after it for its own: it comes last.
            self._watching() as watching,
        ):
            self._heartbeats.set_ready(ready=True)
            _log.info("working", extra={"ensembles": len(self._cache.all(ENSEMBLE))})
            await self._first_of(working, watch, poll, listing, watching, *others)
            self._queue.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    await working

    async def _fill(self) -> bool:
        """Fill the cache; False where the process was asked to stop meanwhile."""
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(watchdog.fill, self._api, self._cache, self._scopes)
                await asyncio.to_thread(self._optional.poll)
            except NotFoundError as error:
                _log.error("is the CRD installed?", extra={"error": str(error)})
            except ApiError as error:
                _log.warning("the cluster cannot be read yet", extra={"error": str(error)})
            else:
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), FILL_RETRY_SECONDS)
        return False

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[asyncio.Task[None]]:
        """kopf, watching; it ends with the block."""
        ready, stop = asyncio.Event(), asyncio.Event()
        watching = asyncio.create_task(
            kopf.operator(
                registry=build_registry(self._cluster, self._cache, self._queue.add),
                settings=build_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                ready_flag=ready,
                stop_flag=stop,
            ),
            name="kopf",
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        self._take_signals()  # kopf has put its own handlers in their place
        try:
            yield watching
        finally:
            stop.set()
            await asyncio.wait({watching}, timeout=10)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)

    async def _first_of(self, *tasks: asyncio.Task[None]) -> None:
        """Wait for a signal or the end of a task; an error of a task is raised."""
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in done - {stopped}:
            task.result()

    async def _beat(self) -> None:
        while True:
            self._heartbeats.beat("event loop", within=LOOP_LIMIT_SECONDS)
            await asyncio.sleep(LOOP_BEAT_SECONDS)

    async def _every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await call()
            except Exception:  # noqa: BLE001 - a check that cannot be made must not end the work
                _log.exception("background check crashed")

    async def _check_watches(self) -> None:
        newest = await asyncio.to_thread(self._watchdog.compare)
        await asyncio.sleep(watchdog.GRACE_SECONDS)
        self._watchdog.judge(newest)

    async def _poll_config_maps(self) -> None:
        try:
            changed = await asyncio.to_thread(self._config_maps.poll)
        except ApiError as error:
            _log.warning("ConfigMaps cannot be read", extra={"error": str(error)})
            return
        for key in changed:
            self._queue.add(key)

    async def _poll_optional(self) -> None:
        try:
            changed = await asyncio.to_thread(self._optional.poll)
        except ApiError as error:
            _log.warning("optional kinds cannot be listed", extra={"error": str(error)})
            return
        for key in changed:
            self._queue.add(key)

    def _count_api_error(self, method: str, code: int) -> None:
        self._metrics.api_errors.labels(method=method, code=str(code)).inc()

    def _queue_figures(self) -> QueueFigures:
        counts = self._queue.counts
        return QueueFigures(depth=len(self._queue), adds=counts.adds, retries=counts.retries)


async def _keep(leader: Leader) -> None:
    try:
        await leader.keep()
    except LeadershipLostError as error:
        _log.critical("leadership lost", extra={"error": str(error)})
        logging.shutdown()
        os._exit(1)  # at once: another replica may be writing already


@contextlib.asynccontextmanager
async def _background(work: Awaitable[None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """A task for the time of a block."""

    async def run() -> None:
        await work

    task = asyncio.create_task(run(), name=name)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
