"""Revisions that are wrong in every way a model can be: none gets a request, and the message says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ensembles_api.verification import VerificationReport
from tests.e2e import live
from tests.e2e.load import Log, constant_load
from tests.e2e.models import RAISES_AT_START, affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

CODE = """
import time
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "X").as_numpy()
            {statement}
            answers.append(pb.InferenceResponse([pb.Tensor("Y", y)]))
        return answers
"""
IO = {
    "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}],
    "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [4]}],
}
SLOW_MILLISECONDS = 1500
"""What the slow model takes, more than what a busy machine makes of the others'."""


def coded(statement: str, code: str = CODE) -> dict[str, Any]:
    source = {"inline": code.format(statement=statement) if "{statement}" in code else code}
    return {"python": {"source": source}, "config": IO}


def cases(*, golden: float) -> dict[str, Any]:
    """What a model that multiplies by `golden` answers, in time."""
    inputs = [{"name": "X", "source": {"inline": "[1, 2, 3, 4]"}}]
    values = [[golden * number for number in (1, 2, 3, 4)]]
    return {
        "cases": [
            {
                "name": "largest",
                "inputs": inputs,
                "expect": [
                    {"output": "Y", "topK": {"label": "four"}},
                    {"output": "Y", "allClose": {"source": {"inline": json.dumps(values)}}},
                ],
                "latency": {"requests": 4, "p50Milliseconds": SLOW_MILLISECONDS * 2 // 3},
            }
        ]
    }


@dataclass(frozen=True)
class Served:
    """An ensemble that doubles, under load."""

    ensemble: live.Ensemble
    uri: str
    log: Log

    def change(self, member: dict[str, Any], *, golden: float = 2.0, verify_seconds: int = 600) -> None:
        labels = [{"output": "Y", "source": {"inline": "one\ntwo\nthree\nfour\n"}}]
        model = {"name": "net", "maxBatchSize": 8, "labels": labels, **member}
        self.ensemble.namespace.apply(
            self.ensemble.name,
            [model],
            verification=cases(golden=golden),
            rollout={"verifySeconds": verify_seconds, "retainSeconds": 0},
        )

    def refused(self, reason: str = "VerificationFailed") -> str:
        """The message of a refused rollout, when another moment has shown that it stays so."""
        found = self.ensemble.wait("Stalled", reason, seconds=240)
        live.eventually(
            lambda: self.ensemble.status["history"][0]["outcome"] == "Failed", what=self.ensemble.describe
        )
        status = self.ensemble.status
        assert status["history"][0]["revision"] != status["revision"]
        attempts = self.ensemble.namespace.items("jobs", "ensembles.dev/role=verify")
        newest = [j for j in attempts if status["history"][0]["rollout"] in j["metadata"]["name"]]
        assert len(newest) <= 1, "it is not tried again"
        self.log.answers_again()
        self.log.check(2.0)
        return str(found["message"])


@pytest.fixture(scope="module")
def served(make_namespace: live.NamespaceFactory) -> Iterator[Served]:
    with make_namespace("verification") as space:
        uri = space.put("double.onnx", affine_onnx(scale=2))
        ensemble = live.Ensemble(space, "judged")
        Served(ensemble, uri, Log()).change({"onnxruntime": {"source": {"uri": uri}}})
        ensemble.wait(seconds=240)
        with constant_load(ensemble, "net") as log:
            yield Served(ensemble, uri, log)
        log.check(2.0, 5.0)


def test_cases_that_hold_are_told_in_status_and_in_storage(served: Served) -> None:
    found = served.ensemble.status["verification"]
    assert (found["failed"], found["servers"]) == (0, 1)
    assert found["passed"] == 2, "the smoke test of the model, and the case"
    report = VerificationReport.model_validate_json(
        served.ensemble.namespace.read(f"store/{found['report']}")
    )
    (case,) = (case for case in report.servers[0].cases if case.case)
    assert (case.case, case.outcome) == ("largest", "Passed")
    assert case.p50_milliseconds is not None


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (coded("y = x * np.float32('nan')"), ("model 'net'", "values are not finite")),
        (coded("y = x * -2"), ("case 'largest'", "'four' (class 3) comes 4th", "the first is class 0")),
        (coded("y = x * 3"), ("case 'largest'", "4 of 4 values differ", "12 instead of 8")),
        (
            coded(f"time.sleep({SLOW_MILLISECONDS / 1000}); y = x * 2"),
            ("case 'largest'", "p50 of 4 requests is", f"{SLOW_MILLISECONDS * 2 // 3} ms is expected"),
        ),
    ],
    ids=["nan", "label", "value", "slow"],
)
def test_a_wrong_revision_gets_no_request_and_the_message_has_figures(
    served: Served, member: dict[str, Any], said: tuple[str, ...]
) -> None:
    served.change(member)
    message = served.refused()
    assert all(text in message for text in said), message
    found = served.ensemble.status["verification"]
    assert found["failed"] >= 1
    assert said[-1] in found["failures"][0]["message"]


def test_a_revision_that_hangs_is_given_up_in_time(served: Served) -> None:
    served.change(coded("time.sleep(0 if not x.any() else 900); y = x * 2"), verify_seconds=60)
    message = served.refused()
    assert "case 'largest'" in message
    assert "no answer within" in message


def test_a_revision_that_crashes_on_load_is_refused(served: Served) -> None:
    served.change(coded("", code=RAISES_AT_START))
    assert "the weights do not fit" in served.refused("LoadFailed")


def test_a_right_revision_is_promoted_after_all_of_them(served: Served) -> None:
    uri = served.ensemble.namespace.put("five.onnx", affine_onnx(scale=5))
    served.change({"onnxruntime": {"source": {"uri": uri}}}, golden=5.0)
    served.ensemble.wait(seconds=240)
    live.eventually(lambda: 5.0 in served.log.factors[-3:], what="no answer of the new revision")
    served.log.check(2.0, 5.0)
    assert served.ensemble.status["verification"]["failed"] == 0
