"""Ensembles deleted at any time, with what they share, with their namespace; re-created under the same name.

Every story is told in a namespace of its own, all at once.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.e2e import live, together
from tests.e2e.models import DOUBLING_PIPELINE, affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SPEC: dict[str, Any] = {
    "serving": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
    "build": {"resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}},
}
KINDS = (
    "jobs,deployments,replicasets,pods,services,endpointslices,configmaps,controllerrevisions,"
    "poddisruptionbudgets,secrets"
)
NOT_OURS = {"ConfigMap/kube-root-ca.crt", "Secret/model-storage"}
LABEL = "ensembles.dev/ensemble"
ROLE = "ensembles.dev/role"


def both(uri: str, pipeline: str = DOUBLING_PIPELINE) -> list[dict[str, Any]]:
    """A pipeline that is built and a model that is not, without wiring."""
    return [
        {"name": "pre", "dali": {"source": {"inline": pipeline}}, "maxBatchSize": 4},
        {"name": "net", "onnxruntime": {"source": {"uri": uri}}},
    ]


def answers(ensemble: live.Ensemble, *models: str) -> None:
    """Every model doubles."""
    data = np.ones((1, 4), np.float32)
    for model in models:
        name = "X" if model == "net" else next(iter(_inputs(ensemble, model)))
        (answer,) = ensemble.infer(model, {name: data}).values()
        np.testing.assert_array_equal(answer, data * 2)


def _inputs(ensemble: live.Ensemble, model: str) -> list[str]:
    with ensemble.http() as client:
        return [tensor["name"] for tensor in client.get_model_metadata(model)["inputs"]]


def names(space: live.Namespace, kinds: str = KINDS, selector: str = "") -> set[str]:
    return {f"{item['kind']}/{item['metadata']['name']}" for item in space.items(kinds, selector)}


def all_gone(space: live.Namespace, *, but: frozenset[str] = frozenset()) -> None:
    """Nothing of any ensemble is left in the namespace; draining pods are waited for."""
    live.eventually(
        lambda: names(space) <= NOT_OURS | but,
        seconds=240,
        every=2,
        what=lambda: str(names(space) - NOT_OURS),
    )


def uid_of(ensemble: live.Ensemble) -> str:
    return str(ensemble.object()["metadata"]["uid"])


def deleted_and_made_again_at_any_time(space: live.Namespace) -> None:
    """While assembling, building, rolling out: the next of the name starts at once and serves."""
    uri = space.put("double.onnx", affine_onnx())
    plain = [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]
    former = {
        "assembling": _caught(space, "assembling", plain, "jobs", "assemble"),
        "building": _caught(space, "building", both(uri), "jobs", "build"),
        "starting": _caught(space, "starting", plain, "deployments", "server"),
    }
    for name, uid in former.items():
        ensemble = live.Ensemble(space, name)
        ensemble.wait(seconds=300)
        answers(ensemble, *(("net", "pre") if name == "building" else ("net",)))
        assert uid_of(ensemble) != uid
        gone = functools.partial(_nothing_of, space, uid)
        live.eventually(gone, what=f"children of the first {name} stay")
        assert _owned(space, uid_of(ensemble))
    for name in former:
        live.Ensemble(space, name).delete()
    all_gone(space)


def _caught(space: live.Namespace, name: str, models: list[dict[str, Any]], kind: str, role: str) -> str:
    """Apply, delete in the middle of the stage that has such a child, apply again; the first's uid."""
    ensemble = space.apply(name, models, **SPEC)
    uid = uid_of(ensemble)
    live.eventually(
        lambda: [
            child
            for child in space.items(kind, f"{ROLE}={role}")
            if uid in _owners(child) and not _ended(child)
        ],
        every=0.2,
        what=ensemble.describe,
    )
    assert ensemble.condition("Ready").get("status") != "True"
    ensemble.delete()
    space.apply(name, models, **SPEC)
    return uid


def _ended(child: dict[str, Any]) -> bool:
    status = child.get("status", {})
    return bool(status.get("succeeded") or status.get("failed") or status.get("readyReplicas"))


def _owners(item: dict[str, Any]) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences", [])}


def _nothing_of(space: live.Namespace, uid: str) -> bool:
    return not _owned(space, uid)


def _owned(space: live.Namespace, uid: str) -> set[str]:
    return {item["metadata"]["name"] for item in space.items(KINDS) if uid in _owners(item)}


def one_pipeline_for_three(space: live.Namespace) -> None:
    """One build for all who need it; who leaves takes only its own along, in the cluster and in storage."""
    uri = space.put("double.onnx", affine_onnx())
    with _nodes_kept_back(space) as (selector, let_go):
        spec = {**SPEC, "build": {**SPEC["build"], "nodeSelector": selector}}
        policies = {"left": "Delete", "right": "Retain", "gone": "Delete"}
        ensembles = {
            name: space.apply(name, both(uri), **spec, deletionPolicy=policy)
            for name, policy in policies.items()
        }
        everybody = {uid_of(ensemble) for ensemble in ensembles.values()}
        job = live.eventually(lambda: _build_job_of(space, everybody), what=ensembles["right"].describe)
        leaving = uid_of(ensembles["gone"])
        ensembles["gone"].delete()
        live.eventually(
            lambda: _build_job_of(space, everybody - {leaving}), what="one owner left, the Job too"
        )
        let_go()
        for name in ("left", "right"):
            ensembles[name].wait(seconds=300)
    seen = {
        event["regarding"]["name"]
        for event in space.items("events.v1.events.k8s.io")
        if event["regarding"]["kind"] == "Job" and event["regarding"]["name"].startswith("build-")
    }
    assert seen == {job["metadata"]["name"]}
    assert space.objects("store/ensembles/" + f"{space.name}/gone/") == []
    for name in ("left", "right"):
        answers(ensembles[name], "net", "pre")
    _left_goes_and_right_stays(space, ensembles["left"], ensembles["right"])


@contextmanager
def _nodes_kept_back(space: live.Namespace) -> Iterator[tuple[dict[str, str], Any]]:
    """A node selector that no node has until the function beside it is called."""
    label = f"e2e/{space.name}"
    try:
        yield {label: "yes"}, lambda: live.kubectl("label", "nodes", "--all", f"{label}=yes")
    finally:
        live.kubectl("label", "nodes", "--all", f"{label}-")


def _build_job_of(space: live.Namespace, owners: set[str]) -> dict[str, Any] | None:
    """The only build Job there is, once these own it."""
    found = space.items("jobs", f"{ROLE}=build")
    assert len(found) <= 1
    return found[0] if found and _owners(found[0]) == owners else None


def _left_goes_and_right_stays(space: live.Namespace, left: live.Ensemble, right: live.Ensemble) -> None:
    shared = {path for path in space.objects("store/") if not path.startswith("store/ensembles/")}
    assert [path for path in shared if path.startswith("store/artifacts/dali/")]
    assert [path for path in shared if path.startswith("store/blobs/")]
    children = names(space, selector=f"{LABEL}=right")
    revision = set(space.objects(f"store/ensembles/{space.name}/right/"))
    pods = {pod["metadata"]["uid"] for pod in space.items("pods", f"{LABEL}=right,{ROLE}=server")}
    left.delete()
    assert space.objects(f"store/ensembles/{space.name}/left/") == []
    all_gone(space, but=frozenset(children))
    assert names(space, selector=f"{LABEL}=right") == children
    assert {p["metadata"]["uid"] for p in space.items("pods", f"{LABEL}=right,{ROLE}=server")} == pods
    answers(right, "net", "pre")
    right.delete()
    all_gone(space)
    assert set(space.objects(f"store/ensembles/{space.name}/right/")) == revision
    assert {path for path in space.objects("store/") if not path.startswith("store/ensembles/")} == shared


def storage_given_up(space: live.Namespace) -> None:
    """A deletion that storage holds up waits, until it is told to leave the revisions where they are."""
    ensemble = space.apply("stuck", both("s3://models/none.onnx"), **SPEC, deletionPolicy="Delete")
    live.eventually(lambda: ensemble.object()["metadata"].get("finalizers"), what="no finalizer")
    space.kubectl("delete", "secret", "model-storage")
    ensemble.delete(wait=False)
    live.eventually(lambda: space.items("jobs", f"{ROLE}=prune"), what="no prune Job")
    time.sleep(5)
    assert "deletionTimestamp" in ensemble.object()["metadata"]
    space.kubectl("annotate", "ie", "stuck", "ensembles.dev/abandon-storage=true")
    live.eventually(lambda: not space.items("inferenceensembles"), what="it is not let go")
    live.eventually(lambda: "PruneSkipped" in space.kubectl("get", "events"), what="no Event says so")
    all_gone(space)


def namespace_deleted(space: live.Namespace) -> None:
    """The namespace goes, whatever the policy of what is in it; no Job can run there, so revisions stay."""
    uri = space.put("double.onnx", affine_onnx())
    models = [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]
    kept = space.apply("kept", models, **SPEC)
    pruned = space.apply("pruned", models, **SPEC, deletionPolicy="Delete")
    for ensemble in (kept, pruned):
        ensemble.wait(seconds=300)
    space.apply("new", both(uri), **SPEC, deletionPolicy="Delete")
    live.eventually(lambda: space.items("jobs", f"{ROLE}=assemble,{LABEL}=new"), every=0.2, what="no Job")
    live.kubectl("delete", "namespace", space.name, "--wait=false")
    live.eventually(
        lambda: "NotFound" in live.kubectl("get", "namespace", space.name, check=False),
        seconds=300,
        every=2,
        what=lambda: live.kubectl("get", "namespace", space.name, "-o", "yaml", check=False),
    )
    assert {path.split("/")[3] for path in space.objects("store/ensembles/")} >= {"kept", "pruned"}


STORIES = (deleted_and_made_again_at_any_time, one_pipeline_for_three, storage_given_up, namespace_deleted)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    yield from together.begin(request, STORIES)


@pytest.mark.parametrize("story", [together.name_of(story) for story in STORIES])
def test_deletion(story: str, results: dict[str, Future[None]]) -> None:
    results[story].result()
