"""How a verification went is noted at the rollout and shown, also when its Job is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ensembles_api.contract import RESULT_LIMIT, CaseFailure, Fault, Result, VerificationSummary
from ensembles_api.reasons import Reason
from tests.unit.plan.story import Story
from tests.unit.plan.world import VERIFIED, condition

OTHER = "4" * 64
FAILURE = CaseFailure(
    case="espresso", model="net", server="10.0.0.9:8001", message="class 1 comes 2nd with 0.2"
)
FAILED = Result(
    fault=Fault(code=Reason.VERIFICATION_FAILED, message="case 'espresso': model 'net' …: class 1 comes 2nd"),
    verification=VerificationSummary(passed=1, failed=1, servers=1, seconds=2.5, failures=(FAILURE,)),
)


def shown(story: Story) -> dict[str, Any]:
    assert story.last.status is not None
    found: dict[str, Any] = story.last.status["verification"]
    return found


def test_figures_of_the_servers_that_serve_stay_when_the_job_is_gone() -> None:
    story = Story()
    story.until_ready()
    story.seen = replace(story.seen, jobs=())
    story.step(300)
    assert VERIFIED.verification is not None
    assert shown(story)["passed"] == 2
    assert shown(story)["report"] == "reports/1.json"
    assert story.last.actions == ()


def test_a_failed_case_is_named_while_the_old_servers_serve_on() -> None:
    story = Story()
    first = story.bring_up_second(OTHER)
    story.servers_ready()
    story.end("verify", "failed", result=FAILED)
    for _ in range(3):
        story.step(2)
    found = shown(story)
    assert story.active == first
    assert (found["revision"], found["failed"]) == (OTHER, 1)
    assert found["failures"][0]["case"] == "espresso"
    stalled = condition(story.last, "Stalled")
    assert stalled is not None
    assert "case 'espresso'" in stalled["message"]
    story.seen = replace(story.seen, jobs=())
    story.step(3600)
    assert shown(story) == found
    assert not [action for action in story.last.actions if "Job" in str(action)], "it is not tried again"


def test_what_a_termination_message_has_no_room_for_is_left_to_the_report() -> None:
    long = FAILURE.model_copy(update={"message": "x" * 300})
    summary = VerificationSummary(failed=9, servers=9, report="r" * 200, failures=(long,) * 8)
    fault = Fault(code=Reason.VERIFICATION_FAILED, message="y" * 600)
    text = Result(verification=summary, fault=fault).message()
    assert len(text) <= RESULT_LIMIT
    found = Result.model_validate_json(text)
    assert found.fault == fault
    assert found.verification is not None
    assert 0 < len(found.verification.failures) < 8
    assert (found.verification.failed, found.verification.report) == (9, summary.report)
