"""An export is a build whose container the user describes: found by its field, retried, and explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ensemble_operator.plan.observation import ContainerSeen, PodSeen
from ensembles_api.contract import NextBuild, Result
from tests.unit.plan.story import Story
from tests.unit.plan.world import KEY, LOCK, condition, created

FIELD = "spec.models[0].onnxruntime.export"
IMAGE = "exporter@sha256:1"
TRACE = """Traceback (most recent call last):
  File "/inputs/export.py", line 3, in <module>
RuntimeError: size mismatch for conv1.weight
"""


def models(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "net", "onnxruntime": {"export": {"image": IMAGE, "args": ["--size", "3"], **changes}}}]


def ask(story: Story) -> None:
    """The first round finds the export missing, and the operator acts on it."""
    story.step()
    export = NextBuild(kind="export", key=KEY, model="net", field=FIELD)
    story.end("assemble", result=Result(lock=LOCK, next=(export,)))
    story.step()


def asked() -> Story:
    story = Story()
    story.change(models=models())
    ask(story)
    return story


def fail(story: Story, **container: Any) -> None:
    seen = ContainerSeen(name="export", init=True, terminated_reason="Error", exit_code=1)
    pod = PodSeen(name="p", uid="p", labels={}, phase="Failed", containers=(replace(seen, **container),))
    story.end("build", "failed", pod=pod)
    story.step()


def message(story: Story, kind: str = "Stalled") -> str:
    found = condition(story.last, kind)
    assert found is not None
    return str(found["message"])


def test_the_users_container_runs_between_fetch_and_upload() -> None:
    (job,) = created(asked().last, "Job")
    pod = job["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["initContainers"]] == ["fetch", "export"]
    assert pod["initContainers"][1]["image"] == IMAGE
    assert pod["initContainers"][1]["args"] == ["--size", "3"]


def test_a_failed_export_stalls_with_its_field_and_the_end_of_its_log() -> None:
    story = asked()
    fail(story, termination_message=TRACE)
    assert story.reason == "ExportFailed"
    assert message(story).startswith(f"{FIELD}: the container ended with exit code 1: Traceback")
    assert "size mismatch for conv1.weight" in message(story)


def test_what_the_users_container_says_is_no_result() -> None:
    story = asked()
    fail(story, termination_message=Result(revision="1" * 64).message())
    assert story.reason == "ExportFailed"


def test_the_exports_own_memory_limit_is_named() -> None:
    story = asked()
    fail(story, terminated_reason="OOMKilled", exit_code=137)
    assert message(story, "Ready").startswith(f"{FIELD}: container export")
    assert "resources.limits.memory" in message(story, "Ready")


def test_other_resources_are_tried_although_the_key_is_the_same() -> None:
    """Another ensemble's Job of the key, which no node has room for, would be waited for for ever."""
    other = asked().jobs("build")[0]
    pod = replace(other.pods[0], phase="Pending", scheduled=False, unscheduled_reason="Unschedulable")
    story = Story()
    story.change(models=models(resources={"requests": {"cpu": 1}}))
    story.seen = replace(story.seen, jobs=(replace(other, owners=("other",), pods=(pod,)),))
    ask(story)
    assert [job["metadata"]["name"][-2:] for job in created(story.last, "Job")] == ["-2"]
