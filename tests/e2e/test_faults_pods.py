"""Pods that vanish, are evicted, refused, or find no node, image or device: said, and healed by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import yaml

from tests.e2e import live, together
from tests.e2e.badnetwork import bad_network
from tests.e2e.load import constant_load
from tests.e2e.models import DOUBLING_PIPELINE, multiplies_by
from tests.storage.support.faultproxy import Trouble

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
RELEASE: dict[str, str] = yaml.safe_load((live.ROOT / "tests/e2e/values.yaml").read_text())["releases"]["cpu"]
NO_IMAGE = "localhost/ensembles/no-such-image:dev"
LOCK_READ = re.compile(rb"^GET .*/locks/")
"""What a build's fetch reads first."""
REVISION_READ = re.compile(rb"^GET .*/revisions/.*/models/")
"""What the servers' fetch reads."""
PATIENCE = 420


def dali() -> list[dict[str, Any]]:
    return [{"name": "net", "dali": {"source": {"inline": DOUBLING_PIPELINE}}}]


def doubles(ensemble: live.Ensemble) -> None:
    """It ends Ready, without anything left to mend, and its answers are right."""
    ensemble.wait(seconds=PATIENCE)
    assert ensemble.condition("Reconciling") == ensemble.condition("Stalled") == {}
    data = np.arange(8, dtype=np.float32).reshape(2, 4)
    (answer,) = ensemble.infer("net", {"X": data}).values()
    np.testing.assert_array_equal(answer, data * 2)


def waits(ensemble: live.Ensemble, reason: str, *words: str) -> None:
    """Reconciling for this reason, and nothing that stalls."""

    def said() -> bool:
        condition = ensemble.condition("Reconciling")
        message = condition.get("message", "")
        return condition.get("reason") == reason and all(word in message for word in words)

    live.eventually(said, seconds=PATIENCE, what=ensemble.describe)
    assert ensemble.condition("Stalled") == {}
    assert ensemble.condition("Ready")["status"] == "False"


def pods(space: live.Namespace, role: str) -> list[dict[str, Any]]:
    found = space.items("pods", f"ensembles.dev/role={role}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def running(space: live.Namespace, role: str, *, other_than: str = "") -> dict[str, Any]:
    """A pod of a role, with a container that runs."""

    def look() -> dict[str, Any] | None:
        for pod in pods(space, role):
            status = pod.get("status", {})
            states = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
            if pod["metadata"]["uid"] != other_than and any("running" in s["state"] for s in states):
                return pod
        return None

    return live.eventually(
        look, seconds=PATIENCE, what=lambda: f"no {role} pod runs:\n{space.kubectl('get', 'pods')}"
    )


def lose(space: live.Namespace, pod: dict[str, Any]) -> str:
    """As when its node is gone for good: the pod object goes at once; its uid."""
    space.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0", "--wait=false")
    return str(pod["metadata"]["uid"])


def evict(space: live.Namespace, pod: dict[str, Any]) -> str:
    """Ask the Eviction API, as kubectl drain does; what it answers."""
    name = pod["metadata"]["name"]
    metadata = {"name": name, "namespace": space.name}
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})
    path = f"/api/v1/namespaces/{space.name}/pods/{name}/eviction"
    return space.kubectl("create", "--raw", path, "-f", "-", text=body, check=False)


def told(space: live.Namespace, reason: str) -> bool:
    """Whether an Event of the ensemble has this reason: conditions can pass while nobody looks."""
    selector = f"involvedObject.kind=InferenceEnsemble,reason={reason}"
    return bool(space.get("events", fieldSelector=selector)["items"])


def attempts(space: live.Namespace, role: str) -> list[int]:
    jobs = space.items("jobs", f"ensembles.dev/role={role}")
    return sorted(int(job["metadata"]["annotations"]["ensembles.dev/attempt"]) for job in jobs)


def an_assembler_is_lost_and_the_next_evicted(space: live.Namespace) -> None:
    with bad_network() as proxy:
        proxy.befall(Trouble.HANG)
        ensemble = space.apply("net", multiplies_by(space, 2), storage={"endpoint": proxy.endpoint})
        lost = lose(space, running(space, "assemble"))
        live.eventually(lambda: told(space, "PodLost"), what=ensemble.describe)
        second = running(space, "assemble", other_than=lost)
        assert max(attempts(space, "assemble")) == 2
        evict(space, second)
        third = running(space, "assemble", other_than=second["metadata"]["uid"])
        assert third["metadata"]["labels"]["job-name"] == second["metadata"]["labels"]["job-name"]
        assert max(attempts(space, "assemble")) == 2, "an eviction counts for nothing"
        proxy.befall(Trouble.NONE)
        doubles(ensemble)


def a_builder_is_lost(space: live.Namespace) -> None:
    with bad_network() as proxy:
        proxy.only = LOCK_READ
        proxy.befall(Trouble.HANG)
        ensemble = space.apply("net", dali(), storage={"endpoint": proxy.endpoint})
        lose(space, running(space, "build"))
        live.eventually(lambda: told(space, "PodLost"), what=ensemble.describe)
        live.eventually(lambda: max(attempts(space, "build")) == 2, what=ensemble.describe)
        proxy.befall(Trouble.NONE)
        doubles(ensemble)


def servers_are_lost_while_they_start(space: live.Namespace) -> None:
    with bad_network() as proxy:
        proxy.only = REVISION_READ
        proxy.befall(Trouble.HANG)
        ensemble = space.apply("net", multiplies_by(space, 2), storage={"endpoint": proxy.endpoint})
        first = lose(space, running(space, "server"))
        evict(space, running(space, "server", other_than=first))
        proxy.befall(Trouble.NONE)
        doubles(ensemble)
        assert len(space.items("controllerrevisions")) == 1


def servers_are_evicted_and_lost_while_they_serve(space: live.Namespace) -> None:
    """Evictions cost no request, as a budget spaces them; a lost pod is replaced."""
    serving = {"resources": live.SMALL, "replicas": 2}
    ensemble = space.apply("net", multiplies_by(space, 2), serving=serving)
    doubles(ensemble)
    rollout = ensemble.status["rollout"]
    live.eventually(lambda: len(pods(space, "server")) == 2, what=ensemble.describe)
    with constant_load(ensemble, "net") as log:
        first, second = pods(space, "server")
        log.answers_again()
        assert "Failure" not in evict(space, first)
        assert "disruption budget" in evict(space, second)
        live.eventually(
            lambda: "disruption budget" not in evict(space, second),
            seconds=PATIENCE,
            every=3,
            what="the second pod can never be evicted",
        )
        log.answers_again()
    log.check(2)
    gone = {pod["metadata"]["uid"] for pod in (first, second)}
    live.eventually(
        lambda: (
            not gone & {pod["metadata"]["uid"] for pod in pods(space, "server")}
            and ensemble.status["replicas"] == "2/2"
        ),
        seconds=PATIENCE,
        what=ensemble.describe,
    )
    for pod in pods(space, "server"):
        lose(space, pod)
    live.eventually(lambda: ensemble.condition("Available")["status"] == "False", what=ensemble.describe)
    doubles(ensemble)
    assert ensemble.status["rollout"] == rollout
    assert len(space.items("controllerrevisions")) == 1


def quota_refuses_a_job_and_then_the_servers(space: live.Namespace) -> None:
    def allow(name: str, **hard: str) -> None:
        metadata = {"name": name, "namespace": space.name}
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata}
        limits = {key.replace("_", "."): value for key, value in hard.items()}
        space.kubectl("apply", "-f", "-", text=json.dumps({**quota, "spec": {"hard": limits}}))

    # Two quotas: where one is changed to another kind of limit, the API server may hold the old one against
    # the next pods for seconds, and a ReplicaSet goes on telling the first refusal.
    allow("number", pods="0")
    allow("size", requests_memory="600Mi")
    # With the 64Mi of the HTTP proxy a server's pod asks for 1Gi.
    serving = {"resources": {"requests": {"cpu": "20m", "memory": "960Mi"}}}
    ensemble = space.apply("net", multiplies_by(space, 2), serving=serving)
    waits(ensemble, "QuotaExceeded", "exceeded quota: number", "pods=1")
    space.kubectl("delete", "resourcequota", "number")
    waits(ensemble, "QuotaExceeded", "exceeded quota: size", "requests.memory=1Gi")
    assert ensemble.condition("Published")["status"] == "True"
    allow("size", requests_memory="4Gi")
    doubles(ensemble)
    assert max(attempts(space, "assemble"), default=1) == 1, "waiting is no failure"


def an_image_of_servers_that_is_nowhere(space: live.Namespace) -> None:
    runtime = {"serverImage": NO_IMAGE, "builderImage": RELEASE["builderImage"]}
    models = multiplies_by(space, 2)
    waits(space.apply("net", models, runtime=runtime), "ImageUnavailable", NO_IMAGE)
    doubles(space.apply("net", models, runtime={**runtime, "serverImage": RELEASE["serverImage"]}))


def an_image_of_builders_that_is_nowhere(space: live.Namespace) -> None:
    runtime = {"serverImage": RELEASE["serverImage"], "builderImage": NO_IMAGE}
    waits(space.apply("net", dali(), runtime=runtime), "ImageUnavailable", NO_IMAGE)
    doubles(space.apply("net", dali(), runtime={**runtime, "builderImage": RELEASE["builderImage"]}))
    assert NO_IMAGE not in space.kubectl("get", "pods,jobs", "-o", "yaml"), "the obsolete build is cancelled"


def no_node_that_fits(space: live.Namespace) -> None:
    models = multiplies_by(space, 2)
    selector = {"resources": live.SMALL, "nodeSelector": {"example.com/disk": "none"}}
    waits(space.apply("net", models, serving=selector), "Unschedulable", "affinity/selector")
    doubles(space.apply("net", models))


STORIES = (
    an_assembler_is_lost_and_the_next_evicted,
    a_builder_is_lost,
    servers_are_lost_while_they_start,
    servers_are_evicted_and_lost_while_they_serve,
    quota_refuses_a_job_and_then_the_servers,
    an_image_of_servers_that_is_nowhere,
    an_image_of_builders_that_is_nowhere,
    no_node_that_fits,
)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    yield from together.begin(request, STORIES)


@pytest.mark.parametrize("story", [together.name_of(story) for story in STORIES])
def test_pods_in_trouble(story: str, results: dict[str, Future[None]]) -> None:
    results[story].result()
