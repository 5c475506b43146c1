"""A canary judged by what clients get of it: a worse revision goes back by itself, a good one is promoted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e import live
from tests.e2e.load import Log, constant_load

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(1800)]

CODE = """
import time
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        self.count = 0

    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "X").as_numpy()
            time.sleep({seconds})
            self.count += 1
            if {fails} and x.any() and self.count % {fails} == 0:
                raise ValueError("broken on purpose")
            answers.append(pb.InferenceResponse([pb.Tensor("Y", x * {factor})]))
        return answers
"""
TENSOR = {"data_type": "TYPE_FP32", "dims": [4]}
OLD, NEW = 2.0, 3.0
ROLLOUT = {
    "strategy": "Canary",
    "canary": {"steps": [{"weight": 50, "analyseSeconds": 30}]},
    "analysis": {"maxErrorPercent": 2, "maxLatencyPercent": 200, "minRequests": 20},
    "retainSeconds": 5,
    "watchSeconds": 0,
}


def model(*, factor: float, seconds: float = 0.05, fails: int = 0) -> list[dict[str, Any]]:
    """Answers X * factor after so long; every so many requests fail, but for those of zeros."""
    code = CODE.format(factor=factor, seconds=seconds, fails=fails)
    config = {"input": [{"name": "X", **TENSOR}], "output": [{"name": "Y", **TENSOR}]}
    return [{"name": "net", "python": {"source": {"inline": code}}, "config": config, "maxBatchSize": 4}]


@pytest.fixture
def ensemble(namespace: live.Namespace) -> live.Ensemble:
    found = namespace.apply("judged", model(factor=OLD), rollout=ROLLOUT)
    found.wait()
    return found


def goes_back(ensemble: live.Ensemble, log: Log, words: str) -> None:
    """The canary is taken back with figures, and the old servers alone answer again."""
    live.eventually(lambda: NEW in log.factors, seconds=240, what=ensemble.describe)
    stalled = ensemble.wait("Stalled", "AnalysisFailed", seconds=240)
    assert words in stalled["message"], stalled
    assert "new servers:" in stalled["message"]
    assert ensemble.condition("Available")["status"] == "True"
    live.eventually(lambda: set(log.factors[-40:]) == {OLD}, seconds=60, what="the old servers alone answer")


def test_a_canary_that_fails_requests_goes_back(ensemble: live.Ensemble) -> None:
    with constant_load(ensemble, "net") as log:
        ensemble.namespace.apply("judged", model(factor=NEW, fails=4), rollout=ROLLOUT)
        goes_back(ensemble, log, "maxErrorPercent")
        before = len(log.failures)
        log.answers_again()
        assert len(log.failures) == before, "the old servers fail nothing"
    others = [text for text in log.failures if "broken on purpose" not in text]
    assert not others, others


def test_a_canary_that_is_slow_goes_back(ensemble: live.Ensemble) -> None:
    with constant_load(ensemble, "net") as log:
        ensemble.namespace.apply("judged", model(factor=NEW, seconds=0.2), rollout=ROLLOUT)
        goes_back(ensemble, log, "maxLatencyPercent")
    log.check(OLD, NEW)


def test_a_good_canary_is_promoted(ensemble: live.Ensemble) -> None:
    with constant_load(ensemble, "net") as log:
        ensemble.namespace.apply("judged", model(factor=NEW, seconds=0.04), rollout=ROLLOUT)
        live.eventually(
            lambda: bool(ensemble.namespace.items("jobs", "ensembles.dev/role=analyse")),
            seconds=240,
            what=ensemble.describe,
        )
        ensemble.wait(seconds=240)
        live.eventually(lambda: set(log.factors[-40:]) == {NEW}, seconds=60, what="the new servers alone")
    log.check(OLD, NEW)
