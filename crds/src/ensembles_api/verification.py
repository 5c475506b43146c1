"""Documents of a verification: the cases a revision carries, and the report of how servers stood them."""

from __future__ import annotations

from typing import Literal

from ensembles_api.contract import CONTRACT, CaseFailure, Document, Said, SampleTensor, VerificationSummary

MOST_FAILURES = 4
"""Failures that a summary names: it travels in a termination message."""
LONGEST_MESSAGE = 300


class ExpectedClass(Document):
    """In each row of the batch, one of `indices` is among the k largest values. `label`: their name."""

    k: int = 1
    indices: tuple[int, ...]
    label: str = ""


class ExpectedValue(Document):
    """|answer - tensor| <= atol + rtol * |tensor|; without tolerances they are equal."""

    tensor: SampleTensor
    rtol: float = 0.0
    atol: float = 0.0


class Expected(Document):
    """What one output must be like. `response`: of several, which; None means each that has the output."""

    output: str
    response: int | None = None
    top_k: ExpectedClass | None = None
    value: ExpectedValue | None = None
    minimum: float | None = None
    maximum: float | None = None


class LatencyBound(Document):
    requests: int
    p50_milliseconds: int | None = None
    p99_milliseconds: int | None = None


class VerificationCase(Document):
    """verification/cases.json holds a list of these: one request each; `file` is a path below verification/.

    name: of the user's case, asked once as it stands; empty for a smoke test.
    inputs: of a smoke test, those that are left out are zeros by the model's metadata as the server has it.
    """

    model: str
    inputs: tuple[SampleTensor, ...] = ()
    guessed: bool = False
    """Whether the model takes such inputs is not known (zeros for a free axis or a Python model): a refusal
    is then a warning, not a failure."""
    name: str = ""
    expect: tuple[Expected, ...] = ()
    latency: LatencyBound | None = None


class VerificationPlan(Document):
    cases: tuple[VerificationCase, ...]


CaseOutcome = Literal["Passed", "Failed", "Unproven"]


class CaseReport(Document):
    """How one server stood one case.

    case: name of the user's case; empty for a smoke test.
    message: what was wrong, with figures.
    p50_milliseconds, p99_milliseconds: measured, where the case bounds its latency.
    """

    case: str = ""
    model: str
    outcome: CaseOutcome
    seconds: float
    message: Said = ""
    p50_milliseconds: float | None = None
    p99_milliseconds: float | None = None


class ServerReport(Document):
    server: str
    seconds: float
    cases: tuple[CaseReport, ...]


class VerificationReport(Document):
    """reports/<revision>/<rollout>-<attempt>.json. `started_at`: UTC, RFC 3339."""

    contract: Literal[1] = CONTRACT
    revision: str = ""
    rollout: str = ""
    attempt: int = 1
    started_at: str
    seconds: float
    servers: tuple[ServerReport, ...]

    def failures(self) -> tuple[tuple[str, CaseReport], ...]:
        """(server, case) of each that failed."""
        return tuple(
            (server.server, case)
            for server in self.servers
            for case in server.cases
            if case.outcome == "Failed"
        )

    def summary(self, *, report: str = "") -> VerificationSummary:
        """In short. `report`: where the whole is."""
        outcomes = [case.outcome for server in self.servers for case in server.cases]
        return VerificationSummary(
            passed=outcomes.count("Passed"),
            failed=outcomes.count("Failed"),
            unproven=outcomes.count("Unproven"),
            servers=len(self.servers),
            seconds=self.seconds,
            report=report,
            failures=tuple(
                CaseFailure(
                    case=case.case, model=case.model, server=server, message=case.message[:LONGEST_MESSAGE]
                )
                for server, case in self.failures()[:MOST_FAILURES]
            ),
        )
