"""A user's cases, from the spec into the revision, to a real tritonserver, and into a report in storage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble_builder.artifacts import layout
from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from ensembles_api.contract import Result
from ensembles_api.reasons import Reason
from ensembles_api.spec import Verification
from ensembles_api.verification import VerificationPlan, VerificationReport
from tests.storage.support.triton import RunningServer, tritonserver
from tests.storage.support.workbench import Workbench
from tests.storage.test_laptop import write
from tests.storage.test_verify import CODE, STREAM

pytestmark = pytest.mark.s3

IO = {
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
}
TEXT = {
    "input": [{"name": "x", "data_type": "TYPE_STRING", "dims": [1]}],
    "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [1]}],
}
HALF = "np.char.upper(x.astype('U')).astype(np.object_)"


def python(name: str, expression: str, config: dict[str, Any], code: str = CODE) -> dict[str, Any]:
    source = {"inline": code.format(expression=expression, count=2)}
    return {"name": name, "python": {"source": source}, "config": config}


MODELS = [
    {
        **python("double", "x * 2", IO),
        "maxBatchSize": 4,
        "labels": [{"output": "y", "source": {"inline": "tea\nespresso\nwater\n"}}],
    },
    {**python("upper", HALF, TEXT), "maxBatchSize": 2},
    python("stream", "x + _", {**IO, "model_transaction_policy": {"decoupled": True}}, STREAM),
    {
        **python("counting", "x", {**IO, "sequence_batching": {"max_sequence_idle_microseconds": 5000000}}),
        "maxBatchSize": 1,
    },
    {
        **python("slow", "x if not __import__('time').sleep(0.06) else x", IO),
        "maxBatchSize": 1,
    },
    {
        **python("stuck", "x if not __import__('time').sleep(float(x.max())) else x", IO),
        "maxBatchSize": 1,
    },
    {"name": "all", "ensemble": {"chain": ["double"]}},
]
X = [{"name": "x", "source": {"inline": "[1, 3, 2]"}}]


def npy(values: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue()


class Setting:
    """One server for all cases; each set of cases is published and put to it."""

    def __init__(self, bench: Workbench, server: RunningServer) -> None:
        self.bench, self.server = bench, server

    def verify(self, *cases: dict[str, Any], smoke_test: bool = False, timeout: float = 60.0) -> Result:
        verification = Verification.model_validate({"smokeTest": smoke_test, "cases": list(cases)})
        published = self.bench.assemble(self.bench.request(*MODELS, verification=verification))
        assert published.fault is None, published.fault
        self.bench.published(published)
        files = self.bench.folder / f"to-{published.revision}-default"
        return self.bench.run(
            "verify", "--host", "127.0.0.1", "--port", str(self.server.port), "--replicas", "1",
            "--files", str(files), "--entrypoint", "all", "--timeout", str(timeout),
            *self.bench.storage, *self.bench.ensemble,
            "--revision", published.revision, "--rollout", "abc", "--attempt", "2",
        )  # fmt: skip

    def report(self, result: Result) -> VerificationReport:
        assert result.verification is not None
        data = self.bench.store.root.get(self.bench.store.key(result.verification.report))
        assert data is not None
        return VerificationReport.model_validate_json(data)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Served from the repository that `build` makes of the models."""
    folder = tmp_path_factory.mktemp("cases")
    assert main(["build", write(folder / "e.yaml", MODELS), "--to", str(folder / "out")]) == Exit.DONE
    with tritonserver(folder / "out/models", folder / "log") as server:
        yield server


@pytest.fixture
def setting(bench: Workbench, running: RunningServer) -> Setting:
    return Setting(bench, running)


def test_cases_that_hold_pass_and_their_report_lies_beside_the_revision(setting: Setting) -> None:
    golden = setting.bench.put("golden.npy", npy(np.array([[2.0, 6.001, 4.0]])))
    batch = setting.bench.put("batch.npy", npy(np.ones((4, 3), np.float32)))
    raw = setting.bench.put("x.bin", np.array([1, 3, 2], np.float32).tobytes())
    setting.bench.config_map("texts", upper="total")
    result = setting.verify(
        {
            "name": "classes",
            "inputs": X,
            "expect": [
                {"output": "y", "topK": {"label": "espresso"}},
                {"output": "y", "topK": {"k": 2, "index": 2}},
                {"output": "y", "allClose": {"source": {"uri": golden}}},
                {"output": "y", "range": {"min": 2, "max": 6}},
            ],
            "latency": {"requests": 5, "p50Milliseconds": 30000, "p99Milliseconds": 60000},
        },
        {"name": "whole-batch", "inputs": [{"name": "x", "source": {"uri": batch}}]},
        {
            "name": "raw",
            "model": "double",
            "inputs": [{"name": "x", "source": {"uri": raw}}],
            "expect": [{"output": "y", "equals": {"source": {"inline": "[[2, 6, 4]]"}}}],
        },
        {
            "name": "text",
            "model": "upper",
            "inputs": [{"name": "x", "source": {"configMap": {"name": "texts", "key": "upper"}}}],
            "expect": [
                {"output": "y", "equals": {"source": {"inline": '["TOTAL"]'}, "encoding": "Json"}}
            ],
        },
        {
            "name": "second-response",
            "model": "stream",
            "inputs": X,
            "expect": [
                {"output": "y", "equals": {"source": {"inline": "[2, 4, 3]"}}, "response": 1},
                {"output": "y", "range": {"min": 1, "max": 4}},
            ],
        },
        {"name": "sequence", "model": "counting", "inputs": X,
         "expect": [{"output": "y", "topK": {"index": 1}}]},
        smoke_test=True,
    )  # fmt: skip
    assert result.fault is None, result.fault
    summary = result.verification
    assert summary is not None
    assert (summary.failed, summary.servers) == (0, 1)
    report = setting.report(result)
    assert summary.report == layout.report("demo", "vision", report.revision, rollout="abc", attempt=2)
    cases = {case.case: case for case in report.servers[0].cases if case.case}
    assert list(cases) == ["classes", "whole-batch", "raw", "text", "second-response", "sequence"]
    assert cases["classes"].p50_milliseconds is not None
    assert 0 < cases["classes"].p50_milliseconds < 30000


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            {"inputs": X, "expect": [{"output": "y", "topK": {"label": "tea"}}]},
            (
                "output 'y': row 0: 'tea' (class 0) comes 3rd with 2, and top 1 is expected; "
                "the first is class 1 with 6"
            ),
        ),
        (
            {"inputs": X, "expect": [{"output": "y", "allClose": {"source": {"inline": "[[2, 6, 5]]"}}}]},
            (
                "1 of 3 values differ from the golden ones by more than atol 1e-05 + rtol 0.001, the most at "
                "[0, 2]: 4 instead of 5"
            ),
        ),
        (
            {"inputs": X, "expect": [{"output": "y", "range": {"max": 5}}]},
            "1 of 3 values lie outside of -inf to 5, the first at [0, 1]: 6",
        ),
        (
            {"model": "slow", "inputs": X, "latency": {"requests": 3, "p50Milliseconds": 20}},
            "of 3 requests is ",
        ),
    ],
    ids=["class", "value", "range", "latency"],
)
def test_a_case_that_does_not_hold_is_named_with_its_figures(
    setting: Setting, case: dict[str, Any], said: str
) -> None:
    result = setting.verify({"name": "one", **case}, {"name": "other", "inputs": X})
    assert result.fault is not None
    assert result.fault.code is Reason.VERIFICATION_FAILED
    assert result.fault.message.startswith(f"case 'one': model {case.get('model', 'all')!r} on 127.0.0.1:")
    assert said in result.fault.message
    summary = result.verification
    assert summary is not None
    assert (summary.passed, summary.failed) == (1, 1)
    assert summary.failures[0].case == "one"
    outcomes = [case.outcome for case in setting.report(result).servers[0].cases]
    assert outcomes == ["Failed", "Passed"]


def test_a_case_that_hangs_is_bounded_by_the_time_that_there_is(setting: Setting) -> None:
    long = [{"name": "x", "source": {"inline": "[15, 0, 0]"}}]
    result = setting.verify(
        {"name": "hangs", "model": "stuck", "inputs": long}, {"name": "after", "inputs": X}, timeout=4.0
    )
    assert result.fault is not None
    assert "case 'hangs': model 'stuck'" in result.fault.message
    assert "no answer within" in result.fault.message
    (case,) = setting.report(result).servers[0].cases
    assert 2 < case.seconds < 10


def test_a_report_that_cannot_be_stored_is_a_warning(setting: Setting) -> None:
    published = setting.bench.assemble(setting.bench.request(*MODELS))
    setting.bench.published(published)
    files = setting.bench.folder / f"to-{published.revision}-default"
    nowhere = setting.bench.store.location.model_copy(update={"endpoint": "http://127.0.0.1:1"})
    result = setting.bench.run(
        "verify", "--host", "127.0.0.1", "--port", str(setting.server.port), "--replicas", "1",
        "--files", str(files), "--entrypoint", "all", "--ensemble", "demo/vision",
        "--storage", nowhere.model_dump_json(), "--patience", "1", "--revision", published.revision,
    )  # fmt: skip
    assert result.fault is None
    assert result.verification is not None
    assert result.verification.report == ""
    assert any("the report was not stored" in warning for warning in result.warnings)


def test_other_cases_are_another_revision_and_build_nothing(setting: Setting) -> None:
    case = {"name": "one", "inputs": X}
    revisions = []
    for verification in ({}, {"cases": [case]}, {"smokeTest": False}):
        request = setting.bench.request(*MODELS, verification=Verification.model_validate(verification))
        result = setting.bench.assemble(request)
        assert not result.next
        revisions.append(result.revision)
    assert len(set(revisions)) == 3
    files = setting.bench.published(setting.bench.results[-1])
    assert VerificationPlan.model_validate_json(files["verification/cases.json"]).cases == ()


def test_reports_go_with_their_revision(setting: Setting) -> None:
    result = setting.verify({"name": "one", "inputs": X})
    report = setting.report(result)
    key = setting.bench.store.key(result.verification.report if result.verification else "")
    assert (
        setting.bench.run(
            "prune", *setting.bench.storage, *setting.bench.ensemble, "--remove", report.revision
        ).fault
        is None
    )
    assert setting.bench.store.root.get(key) is None


def test_what_no_server_could_pass_is_refused_before_anything_is_published(bench: Workbench) -> None:
    verification = Verification.model_validate(
        {"cases": [{"name": "one", "inputs": X, "expect": [{"output": "y", "topK": {"label": "cocoa"}}]}]}
    )
    fault = bench.assemble(bench.request(*MODELS, verification=verification)).fault
    assert fault is not None
    assert (fault.code, fault.field) == (
        Reason.INVALID_SPEC,
        "spec.verification.cases[0].expect[0].topK.label",
    )
    assert "no line of the 3 labels of y is 'cocoa'" in fault.message


def test_a_laptop_puts_the_same_cases_to_its_server(
    tmp_path: Path, running: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, status, outcome in (("espresso", Exit.DONE, "Passed"), ("tea", Exit.NO, "Failed")):
        case = {"name": "one", "inputs": X, "expect": [{"output": "y", "topK": {"label": label}}]}
        file = write(tmp_path / f"{label}.yaml", MODELS, verification={"cases": [case]})
        out = str(tmp_path / label)
        assert main(["build", file, "--to", out]) == Exit.DONE
        capsys.readouterr()
        asked = ["verify", out, "--port", str(running.port - 1)]
        assert main([*asked, "-o", "json"]) == status
        cases = json.loads(capsys.readouterr().out)["servers"][0]["cases"]
        assert [found["outcome"] for found in cases if found.get("case") == "one"] == [outcome]
        assert main(asked) == status
        assert outcome in capsys.readouterr().out
