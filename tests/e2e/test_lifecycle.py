"""What users do to an ensemble that serves: the same again, another model, a wrong one, edits of children.

Every story is told in a namespace of its own, all at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import yaml

from tests.e2e import live, together
from tests.e2e.load import constant_load
from tests.e2e.models import RAISES_AT_START, affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SERVING = {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}}
CHILDREN = (
    "jobs,deployments,replicasets,pods,services,configmaps,controllerrevisions,poddisruptionbudgets,secrets"
)
TENSOR = {"data_type": "TYPE_FP32", "dims": [4]}
QUIET_SECONDS = 5
"""So long nothing may happen where nothing should."""


def onnx(uri: str) -> list[dict[str, Any]]:
    return [{"name": "net", "onnxruntime": {"source": {"uri": uri}}}]


def factor(ensemble: live.Ensemble) -> float:
    """What the serving model multiplies by."""
    answer = ensemble.infer("net", {"X": np.ones((1, 4), np.float32)})
    return float(answer["Y"][0, 0])


def deployments(space: live.Namespace) -> list[dict[str, Any]]:
    return [d for d in space.items("deployments") if "deletionTimestamp" not in d["metadata"]]


def the_deployment(space: live.Namespace) -> dict[str, Any]:
    (only,) = deployments(space)
    return only


def state(space: live.Namespace) -> dict[str, str]:
    """The version of every object in a namespace, but for those that are on their way out."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for item in space.items(f"inferenceensembles,{CHILDREN}")
        if "deletionTimestamp" not in item["metadata"]
    }


def at_rest(space: live.Namespace) -> dict[str, str]:
    """The state, once nothing has changed for a while."""

    def look() -> dict[str, str] | None:
        before = state(space)
        time.sleep(QUIET_SECONDS)
        return before if state(space) == before else None

    return live.eventually(look, every=0, what="something still changes")


def the_same_again(space: live.Namespace) -> None:
    """Applying what is there does nothing; metadata concerns nobody; suspend and scale restart nobody."""
    uri = space.put("double.onnx", affine_onnx(scale=2))
    document = yaml.safe_dump(space.document("same", onnx(uri), serving=SERVING))
    space.kubectl("apply", "--server-side", "-f", "-", text=document)
    ensemble = live.Ensemble(space, "same")
    ensemble.wait()
    before = at_rest(space)

    # As GitOps tools apply and compare.
    space.kubectl("apply", "--server-side", "-f", "-", text=document)
    assert space.kubectl("diff", "--server-side", "-f", "-", text=document) == ""
    time.sleep(QUIET_SECONDS)
    assert state(space) == before

    space.kubectl("label", "ie", "same", "team=vision")
    space.kubectl("annotate", "ie", "same", "example.com/note=hello")
    edited = state(space)
    time.sleep(QUIET_SECONDS)
    assert state(space) == edited
    assert {kind for kind, version in edited.items() if before[kind] != version} == {"InferenceEnsemble/same"}
    assert ensemble.object()["metadata"]["generation"] == 1

    _suspended(ensemble, document)
    _scaled(ensemble)


def _suspended(ensemble: live.Ensemble, document: str) -> None:
    space = ensemble.namespace
    other = yaml.safe_load(document)
    other["spec"] |= {"suspend": True, "models": onnx("s3://models/not-there.onnx")}
    space.kubectl("apply", "--server-side", "-f", "-", text=yaml.safe_dump(other))
    live.eventually(lambda: ensemble.condition("Ready").get("reason") == "Suspended", what=ensemble.describe)
    before = at_rest(space)
    name = the_deployment(space)["metadata"]["name"]
    space.kubectl("annotate", "deployment", name, "ensembles.dev/revision=edited", "--overwrite")
    time.sleep(QUIET_SECONDS)
    edited = {key for key, version in state(space).items() if before.get(key) != version}
    assert {key for key in edited if not key.startswith("ReplicaSet/")} == {f"Deployment/{name}"}
    assert factor(ensemble) == 2
    space.kubectl("apply", "--server-side", "-f", "-", text=document)
    ensemble.wait()
    live.eventually(
        lambda: the_deployment(space)["metadata"]["annotations"]["ensembles.dev/revision"] != "edited",
        what="what was edited while suspended is not put back",
    )


def _scaled(ensemble: live.Ensemble) -> None:
    space = ensemble.namespace
    rollout, pods = ensemble.status["rollout"], _server_pods(space)
    assert space.items("poddisruptionbudgets") == []
    space.kubectl("patch", "ie", "same", "--type=merge", "-p", '{"spec": {"serving": {"replicas": 2}}}')
    ensemble.wait()
    (budget,) = space.items("poddisruptionbudgets")
    live.eventually(lambda: ensemble.status["replicas"] == "2/2", what=ensemble.describe)
    space.kubectl("delete", "pdb", budget["metadata"]["name"])
    again = live.eventually(lambda: space.items("poddisruptionbudgets"), what="the budget is not put back")
    assert again[0]["spec"] == budget["spec"]
    assert again[0]["metadata"]["uid"] != budget["metadata"]["uid"]
    space.kubectl("patch", "ie", "same", "--type=merge", "-p", '{"spec": {"serving": {"replicas": 1}}}')
    live.eventually(lambda: not space.items("poddisruptionbudgets"), what="the budget stays")
    live.eventually(lambda: ensemble.status["replicas"] == "1/1", what=ensemble.describe)
    ensemble.wait()
    assert ensemble.status["rollout"] == rollout
    assert pods & _server_pods(space)
    assert len(space.items("controllerrevisions")) == 1


def _server_pods(space: live.Namespace) -> set[str]:
    pods = space.items("pods", "ensembles.dev/role=server")
    return {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def another_model_under_load(space: live.Namespace) -> None:
    """No request is lost from one revision to the next; going back builds nothing; old files are pruned."""
    double = space.put("double.onnx", affine_onnx(scale=2))
    triple = space.put("triple.onnx", affine_onnx(scale=3))
    spec: dict[str, Any] = {"serving": SERVING, "rollout": {"retainSeconds": 5, "watchSeconds": 0}}
    ensemble = space.apply("switch", onnx(double), **spec)
    ensemble.wait()
    first = the_deployment(space)["metadata"]["name"]
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        space.apply("switch", onnx(triple), **spec)
        ensemble.wait()
        live.eventually(lambda: the_only_pods_are_not_of(space, first), what="the old servers stay")
        log.answers_again()
    log.check(2, 3)
    assert log.factors[0] == 2
    assert log.factors[-1] == 3
    assert len(revisions(space, "switch")) == 2

    space.apply("switch", onnx(double), **spec)
    jobs = _jobs_until_ready(ensemble)
    live.eventually(lambda: factor(ensemble) == 2, what="the Service leads to the other model")
    assert not {name for name in jobs if "-asm-" in name or name.startswith("build-")}, jobs
    _only_the_newest_is_kept(ensemble, double, spec)
    _same_uri_other_bytes(ensemble)


def the_only_pods_are_not_of(space: live.Namespace, deployment: str) -> bool:
    names = [pod["metadata"]["name"] for pod in space.items("pods", "ensembles.dev/role=server")]
    return bool(names) and not [name for name in names if name.startswith(deployment)]


def revisions(space: live.Namespace, name: str) -> set[str]:
    """Revisions of an ensemble that lie in storage."""
    base = f"store/ensembles/{space.name}/{name}/revisions/"
    return {key.removeprefix(base).split("/")[0] for key in space.objects(base)}


def _jobs_until_ready(ensemble: live.Ensemble) -> set[str]:
    """Names of all Jobs that were seen until this generation was ready."""
    names: set[str] = set()

    def look() -> bool:
        names.update(job["metadata"]["name"] for job in ensemble.namespace.items("jobs"))
        return ensemble.condition("Ready").get("status") == "True"

    live.eventually(look, seconds=240, what=ensemble.describe)
    return names


def _only_the_newest_is_kept(ensemble: live.Ensemble, uri: str, spec: dict[str, Any]) -> None:
    space = ensemble.namespace
    serving = {ensemble.status["revision"]}
    space.apply("switch", onnx(uri), **spec, revisionHistoryLimit=1)
    live.eventually(lambda: revisions(space, "switch") == serving, what="old revisions stay in storage")
    live.eventually(lambda: len(space.items("controllerrevisions")) == 1, what="old records stay")
    live.eventually(lambda: not space.items("jobs", "ensembles.dev/role=prune"), what="the prune Job stays")
    assert factor(ensemble) == 2


def _same_uri_other_bytes(ensemble: live.Ensemble) -> None:
    space = ensemble.namespace
    before = at_rest(space)
    space.put("double.onnx", affine_onnx(scale=5))
    time.sleep(QUIET_SECONDS)
    assert state(space) == before
    revision = ensemble.status["revision"]
    space.kubectl("annotate", "ie", "switch", "ensembles.dev/requestedAt=1")
    live.eventually(
        lambda: ensemble.status["revision"] != revision and ensemble.condition("Ready")["status"] == "True",
        seconds=240,
        what=ensemble.describe,
    )
    live.eventually(lambda: factor(ensemble) == 5, what="the Service leads to the other model")
    live.eventually(lambda: len(deployments(space)) == 1, what="old servers stay")
    # Asked again with nothing changed: looked at once more, and that is all.
    serving = _server_pods(space)
    space.kubectl("annotate", "ie", "switch", "ensembles.dev/requestedAt=2", "--overwrite")
    live.eventually(
        lambda: "ensembles.dev/alsoInputs" in str(space.items("controllerrevisions")), what=ensemble.describe
    )
    ensemble.wait()
    at_rest(space)
    assert _server_pods(space) == serving


def a_wrong_later_spec(space: live.Namespace) -> None:
    """What serves goes on serving, whether the new spec cannot be built or cannot be loaded."""
    double = space.put("double.onnx", affine_onnx(scale=2))
    triple = space.put("triple.onnx", affine_onnx(scale=3))
    spec: dict[str, Any] = {"serving": SERVING, "rollout": {"retainSeconds": 0, "watchSeconds": 0}}
    ensemble = space.apply("wrong", onnx(double), **spec)
    ensemble.wait()
    raises = {
        "name": "net",
        "python": {"source": {"inline": RAISES_AT_START}},
        "config": {"input": [{"name": "X", **TENSOR}], "output": [{"name": "Y", **TENSOR}]},
        "maxBatchSize": 4,
    }
    with constant_load(ensemble, "net") as log:
        space.apply("wrong", onnx(space.put("text.onnx", "<html>not found</html>")), **spec)
        _stalled(ensemble, "InvalidModel", "spec.models[0].onnxruntime.source")
        log.answers_again()
        space.apply("wrong", [raises], **spec)
        _stalled(ensemble, "LoadFailed", "the weights do not fit")
        live.eventually(lambda: len(_server_pods(space)) == 1, what="the failed servers keep their pods")
        log.answers_again()
        space.apply("wrong", onnx(triple), **spec)
        ensemble.wait(seconds=240)
        assert ensemble.condition("Stalled") == {}
        live.eventually(lambda: log.factors[-1] == 3, what="the corrected spec does not serve")
    log.check(2, 3)
    assert [entry["outcome"] for entry in ensemble.status["history"]] == ["Promoted", "Failed", "Superseded"]


def _stalled(ensemble: live.Ensemble, reason: str, says: str) -> None:
    found = ensemble.wait("Stalled", reason, seconds=240)
    assert says in found["message"]
    assert ensemble.condition("Ready")["status"] == "False"
    assert ensemble.condition("Available")["status"] == "True"
    assert ensemble.condition("Reconciling") == {}


def hands_on_the_children(space: live.Namespace) -> None:
    """What others delete or edit is put back; edits cost no request."""
    models = onnx(space.put("double.onnx", affine_onnx(scale=2)))
    ensemble = space.apply("hands", models, serving=SERVING)
    ensemble.wait()
    before_all = at_rest(space)
    space.apply("hands", models, serving=SERVING)
    assert state(space) == before_all
    document = yaml.safe_dump(space.document("hands", models, serving=SERVING))
    assert space.kubectl("diff", "-f", "-", text=document) == ""
    rollout = ensemble.status["rollout"]
    before = the_deployment(space)
    name = before["metadata"]["name"]
    with constant_load(ensemble, "net") as log:
        log.answers_again()
        space.kubectl("set", "image", f"deployment/{name}", "tritonserver=localhost/not/there:1")
        _put_back(space, before)
        extra = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--log-verbose=1"}]
        space.kubectl("patch", "deployment", name, "--type=json", "-p", yaml.safe_dump(extra))
        _put_back(space, before)
        space.kubectl("scale", "deployment", name, "--replicas=2")
        _put_back(space, before)
        record = space.items("controllerrevisions")[0]["metadata"]
        space.kubectl("delete", "controllerrevision", record["name"])
        live.eventually(
            lambda: [c["metadata"]["name"] for c in space.items("controllerrevisions")] == [record["name"]],
            what="the record is not put back",
        )
        ensemble.wait()
        log.answers_again()
    log.check(2)

    selector = space.get("service", "hands")["spec"]["selector"]
    for patch in (
        '{"spec": {"selector": {"app": "mine"}}}',
        '{"spec": {"selector": {"ensembles.dev/role": "x"}}}',
    ):
        space.kubectl("patch", "service", "hands", "--type=merge", "-p", patch)
        live.eventually(lambda: space.get("service", "hands")["spec"]["selector"] == selector, what=patch)
    space.kubectl("delete", "service", "hands")
    live.eventually(lambda: space.items("services", "ensembles.dev/role=service"), what="no Service")
    assert space.get("service", "hands")["spec"]["selector"] == selector

    space.kubectl("delete", "deployment", name)
    again = live.eventually(lambda: deployments(space), what="the Deployment is not put back")
    assert again[0]["metadata"]["name"] == name
    assert again[0]["metadata"]["uid"] != before["metadata"]["uid"]
    space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s")
    ensemble.wait()
    assert factor(ensemble) == 2
    assert ensemble.status["rollout"] == rollout


def _put_back(space: live.Namespace, before: dict[str, Any]) -> None:
    """The Deployment is as it was, and so are its pods."""
    name = before["metadata"]["name"]
    live.eventually(lambda: the_deployment(space)["spec"] == before["spec"], what=f"{name} stays edited")
    space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s")


STORIES = (the_same_again, another_model_under_load, a_wrong_later_spec, hands_on_the_children)


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    yield from together.begin(request, STORIES)


@pytest.mark.parametrize("story", [together.name_of(story) for story in STORIES])
def test_an_ensemble_that_serves(story: str, results: dict[str, Future[None]]) -> None:
    results[story].result()
