"""The cache against a real API server: lists, refreshes, and the watchdog that compares."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.kinds import CONFIG_MAP, ENSEMBLE, JOB, NODE
from ensemble_operator.health import Heartbeats
from ensemble_operator.metrics.families import Metrics
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.observe.config_maps import UserConfigMaps
from ensemble_operator.observe.gpus import GpuNodes
from ensemble_operator.observe.observer import Observer
from ensemble_operator.observe.optional import OptionalKinds
from ensemble_operator.observe.routing import Key
from ensemble_operator.plan.observation import GpuOffer
from ensemble_operator.watchdog import STRIKES, Watchdog, fill
from tests.operator.conftest import CreateEnsemble, FakeTime
from tests.operator.control_plane import eventually
from tests.operator.objects import job

pytestmark = pytest.mark.apiserver

DIGEST_OF_ONE = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


class FakeSeconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def config_map(namespace: str, name: str, value: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {"key": value},
    }


@pytest.fixture
def seconds() -> FakeSeconds:
    return FakeSeconds()


@pytest.fixture
def config_maps(api: KubernetesApi, seconds: FakeSeconds) -> UserConfigMaps:
    return UserConfigMaps(api, monotonic=seconds)


@pytest.fixture
def observer(api: KubernetesApi, cache: ObjectCache, config_maps: UserConfigMaps, time: FakeTime) -> Observer:
    gpu_nodes = GpuNodes(api, readable=True, monotonic=FakeSeconds())
    optional = OptionalKinds(api, cache, (None,))
    return Observer(api, cache, config_maps, gpu_nodes, optional=optional, now=time)


def test_filling_shows_ensembles_and_their_children_only(
    api: KubernetesApi, cache: ObjectCache, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    api.create(CONFIG_MAP, config_map(target.namespace, "theirs", "1"))
    api.create(JOB, job(target))
    fill(api, cache, (target.namespace,))
    assert [item["metadata"]["name"] for item in cache.all(ENSEMBLE)] == ["demo"]
    assert [item["metadata"]["name"] for item in cache.all(JOB)] == ["build-x"]
    assert cache.all(CONFIG_MAP) == ()
    everything = ObjectCache()
    fill(api, everything, (None,))
    assert everything.get(ENSEMBLE, target.namespace, "demo") is not None


def test_refresh_finds_what_was_missed_and_drops_ghosts(
    api: KubernetesApi, cache: ObjectCache, observer: Observer, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    key = Key(target.namespace, target.name)
    ghost = dict(api.create(JOB, job(target, "ghost")))
    cache.store(ghost)
    api.delete(JOB, target.namespace, "ghost", uid=ghost["metadata"]["uid"])
    api.create(JOB, job(target, "missed"))
    assert observer.observe(key) is None
    observer.refresh(key)
    look = observer.observe(key)
    assert look is not None
    assert [seen.name for seen in look.observation.jobs] == ["missed"]
    api.delete(ENSEMBLE, target.namespace, target.name, uid=target.uid)
    observer.refresh(key)
    assert observer.observe(key) is None


def test_job_without_pod_tells_why_after_a_while(
    api: KubernetesApi, observer: Observer, create_ensemble: CreateEnsemble, time: FakeTime
) -> None:
    target = create_ensemble()
    key = Key(target.namespace, target.name)
    refused = job(target)
    refused["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
    api.create(JOB, refused)
    observer.refresh(key)
    look = observer.observe(key)
    assert look is not None
    (seen,) = look.observation.jobs
    assert (seen.pods, seen.create_error) == ((), "")
    assert look.again is not None
    assert look.again == seen.created + timedelta(seconds=30)

    def told() -> str:
        time.now = seen.created + timedelta(seconds=31)
        later = observer.observe(key)
        assert later is not None
        assert later.again == time.now + timedelta(seconds=30)
        return later.observation.jobs[0].create_error

    assert "serviceaccount" in eventually(told, what="the Job's Event")


def test_users_config_maps_are_read_and_polled(
    api: KubernetesApi, config_maps: UserConfigMaps, namespace: str, seconds: FakeSeconds
) -> None:
    key = Key(namespace, "demo")
    assert config_maps.digests(key, ["pipes"]) == {"pipes": None}
    api.create(CONFIG_MAP, config_map(namespace, "pipes", "1"))
    seconds.now += 1
    assert config_maps.digests(key, ["pipes"]) == {"pipes": None}, "looked at a moment ago"
    assert config_maps.poll() == frozenset()
    seconds.now += 1.5
    assert config_maps.poll() == {key}, "a missing one is looked for often"
    assert config_maps.digests(key, ["pipes"]) == {"pipes": {"key": DIGEST_OF_ONE}}
    assert config_maps.poll() == frozenset()
    seconds.now += 11
    assert config_maps.poll() == frozenset(), "unchanged"
    api.patch(CONFIG_MAP, namespace, "pipes", {"data": {"key": "2"}})
    seconds.now += 11
    assert config_maps.poll() == {key}
    config_maps.forget(key)
    api.patch(CONFIG_MAP, namespace, "pipes", {"data": {"key": "3"}})
    seconds.now += 11
    assert config_maps.poll() == frozenset()


def test_watchdog_mends_the_cache_and_names_the_dead_stream(
    api: KubernetesApi, cache: ObjectCache, create_ensemble: CreateEnsemble
) -> None:
    target = create_ensemble()
    heartbeats, enqueued = Heartbeats(monotonic=lambda: 0.0), set[Key]()
    dog = Watchdog(
        api=api,
        cache=cache,
        enqueue=enqueued.add,
        heartbeats=heartbeats,
        metrics=Metrics(),
        scopes=(target.namespace,),
    )
    ghost = config_map(
        target.namespace, "ghost", "1", **{"ensembles.dev/ensemble": "other", "ensembles.dev/role": "request"}
    )
    stored = dict(api.create(CONFIG_MAP, ghost))
    cache.store(stored)
    api.delete(CONFIG_MAP, target.namespace, "ghost", uid=stored["metadata"]["uid"])
    newest = dog.compare()
    assert cache.get(CONFIG_MAP, target.namespace, "ghost") is None
    assert cache.get(ENSEMBLE, target.namespace, target.name) is not None, "the watch has not brought it"
    assert enqueued == {Key(target.namespace, "other"), Key(target.namespace, target.name)}

    for _ in range(STRIKES):
        assert heartbeats.problems() == []
        dog.judge(newest)
    assert heartbeats.problems() == [
        f"watch of inferenceensembles in {target.namespace}: the stream does not bring what a list shows"
    ]
    live = api.get(ENSEMBLE, target.namespace, target.name)
    cache.watched("ADDED", live)
    dog.judge(dog.compare())
    assert heartbeats.problems() == []


def test_watchdog_does_not_blame_streams_for_a_server_that_is_away(
    api: KubernetesApi, cache: ObjectCache, namespace: str
) -> None:
    heartbeats = Heartbeats(monotonic=lambda: 0.0)
    dog = Watchdog(
        api=api,
        cache=cache,
        enqueue=print,
        heartbeats=heartbeats,
        metrics=Metrics(),
        scopes=(namespace,),
    )
    configuration = api._client.configuration
    host, configuration.host = configuration.host, "https://127.0.0.1:1"
    try:
        newest = dog.compare()
    finally:
        configuration.host = host
    assert newest == {}
    dog.judge(newest)
    assert heartbeats.problems() == []


def test_nodes_tell_their_gpus(api: KubernetesApi, seconds: FakeSeconds) -> None:
    capacity = {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.5gb": "7", "cpu": "8"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "gpu-node", "labels": {"nvidia.com/gpu.product": "NVIDIA-TEST"}},
        "status": {"capacity": capacity},
    }
    nodes = GpuNodes(api, readable=True, monotonic=seconds)
    assert nodes.offers() == frozenset()
    api._request("POST", NODE.path(None), body=node)
    try:
        assert nodes.offers() == frozenset(), "not asked again so soon"
        seconds.now = 11.0
        offer = GpuOffer(
            "NVIDIA-TEST", frozenset({"nvidia.com/mig-1g.5gb"}), none_left=frozenset({"nvidia.com/gpu"})
        )
        assert nodes.offers() == frozenset({offer})
    finally:
        api._request("DELETE", NODE.path(None, "gpu-node"))
    assert GpuNodes(api, readable=False, monotonic=seconds).offers() is None
