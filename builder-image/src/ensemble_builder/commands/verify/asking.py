"""One server asked for every case."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from ensemble_builder.commands.verify.answers import complaints
from ensemble_builder.commands.verify.expectations import unmet
from ensemble_builder.commands.verify.inference import Answer, infer
from ensemble_builder.commands.verify.latency import measure
from ensemble_builder.commands.verify.requests import Request, given, requests, sampled
from ensemble_builder.commands.verify.servers import CALL_SECONDS, Deadline, is_lost, not_ready, reason
from ensembles_api.verification import CaseOutcome, CaseReport, VerificationCase

INFERENCE_SECONDS = 300.0
MOST_COMPLAINTS = 3
"""So many are told of one case: more say the same of further rows."""


GUESS_CURE = (
    "; it was asked with a guess: where it may well hang on that, give cases and set "
    "spec.verification.smokeTest to false"
)


@dataclass(frozen=True)
class TimeLimit:
    """How long one inference may take.

    Args:
        deadline: the end of the verification.
        fair: seconds; a model that was given less, because its server came late, is not condemned.
    """

    deadline: Deadline
    fair: float

    @property
    def seconds(self) -> float:
        return min(INFERENCE_SECONDS, max(1.0, self.deadline.left))


class HungError(Exception):
    """A case that was not answered in its time; its server is asked no more."""


@dataclass(frozen=True)
class ServerCheck:
    """The cases put to one server.

    Raises (every method): InferenceServerException where the server went away; FaultError ServersNotReady
    where no time was left for it.
    """

    client: InferenceServerClient
    server: str
    folder: Path
    limit: TimeLimit
    _configs: dict[str, ModelConfig] = field(default_factory=dict)

    def unready_models(self, wanted: set[str]) -> Iterator[CaseReport]:
        """Every model the server has, and every one we expect, must be ready: strict readiness alone lets an
        unloaded model pass.
        """
        index = self.client.get_model_repository_index(client_timeout=CALL_SECONDS)
        states = {model.name: (model.state, model.reason) for model in index.models}
        for name in sorted(wanted - states.keys()):
            message = f"there is no such model; it has {', '.join(sorted(states))}"
            yield CaseReport(model=name, outcome="Failed", seconds=0.0, message=message)
        for name, (state, why) in states.items():
            if state != "READY":
                message = f"it is {state or 'not loaded'}{f': {why}' if why else ''}"
                yield CaseReport(model=name, outcome="Failed", seconds=0.0, message=message)

    def ask_all(self, cases: Sequence[VerificationCase]) -> Iterator[CaseReport]:
        """Reports of the cases, up to one that hangs."""
        for case in cases:
            begin = time.monotonic()
            hung = False
            try:
                message = self._ask(case)
            except HungError as error:
                message, hung = f"{error}{GUESS_CURE if case.guessed else ''}", True
            outcome: CaseOutcome = "Passed"
            if message:
                # Refusing a guess says nothing of a model; not answering at all does.
                outcome = "Unproven" if case.guessed and not hung else "Failed"
            yield CaseReport(
                case=case.name,
                model=case.model,
                outcome=outcome,
                seconds=round(time.monotonic() - begin, 3),
                message=message,
            )
            if hung:
                return

    def timed(self, case: VerificationCase, report: CaseReport) -> CaseReport:
        """The report of a case that passed, with its latency."""
        if case.latency is None:
            return report
        config = self._config(case.model)
        request, sequence = given(case, config, self.folder), self._keeps_state(config)
        begin = time.monotonic()
        try:
            found = measure(lambda: self._infer(config, request, sequence=sequence), case.latency)
        except HungError as error:
            return report.model_copy(update={"outcome": "Failed", "message": str(error)})
        except InferenceServerException as error:
            if is_lost(error):
                raise
            message = f"asked again: {reason(error)}"
            return report.model_copy(update={"outcome": "Failed", "message": message})
        exceeded = "; ".join(found.exceeded(case.latency))
        return report.model_copy(
            update={
                "outcome": "Failed" if exceeded else report.outcome,
                "message": exceeded,
                "seconds": round(report.seconds + time.monotonic() - begin, 3),
                "p50_milliseconds": found.p50,
                "p99_milliseconds": found.p99,
            }
        )

    def _ask(self, case: VerificationCase) -> str:
        """What was wrong, empty where nothing was."""
        config = self._config(case.model)
        sequence = self._keeps_state(config)
        for alternatives in requests(case, config, self.folder, sequence=sequence):
            found = self._best(case, config, alternatives, sequence=sequence)
            if found:
                described = alternatives[-1].description
                text = "; ".join(found[:MOST_COMPLAINTS])
                return f"{described}: {text}" if described else text
        return ""

    def _config(self, model: str) -> ModelConfig:
        if model not in self._configs:
            self._configs[model] = self.client.get_model_config(model, client_timeout=CALL_SECONDS).config
        return self._configs[model]

    def _keeps_state(self, config: ModelConfig) -> bool:
        """Whether the model, or a step of it, is a sequence model (the server refuses cycles of
        ensembles).
        """
        return config.HasField("sequence_batching") or any(
            self._keeps_state(self._config(name))
            for name in {step.model_name for step in config.ensemble_scheduling.step}
        )

    def _best(
        self,
        case: VerificationCase,
        config: ModelConfig,
        alternatives: tuple[Request, ...],
        *,
        sequence: bool,
    ) -> tuple[str, ...]:
        """Complaints about the best answered of several requests; none where one is answered well."""
        found: tuple[str, ...] = ()
        for request in alternatives:
            found = self._complaints(case, config, request, sequence=sequence)
            if not found:
                break
        return found

    def _complaints(
        self, case: VerificationCase, config: ModelConfig, request: Request, *, sequence: bool
    ) -> tuple[str, ...]:
        streamed = bool(config.model_transaction_policy.decoupled)
        try:
            answers = self._infer(config, request, sequence=sequence)
        except InferenceServerException as error:
            if is_lost(error):
                raise
            return (reason(error),)
        if not answers:
            return ("the model ended the stream without an answer",)
        malformed = tuple(
            complaint
            for answer in answers
            for complaint in complaints(config, answer, batch=request.batch, streamed=streamed)
        )
        return malformed or tuple(
            complaint
            for expected in case.expect
            for complaint in unmet(
                expected,
                answers,
                batch=request.batch,
                load=lambda tensor: sampled(tensor, self.folder).value,
            )
        )

    def _infer(self, config: ModelConfig, request: Request, *, sequence: bool) -> tuple[Answer, ...]:
        """Ask once.

        Raises:
            HungError: there was no answer in a fair time.
        """
        timeout = self.limit.seconds
        begin = time.monotonic()
        try:
            return infer(self.client, config, request, sequence=sequence, timeout=timeout)
        except InferenceServerException as error:
            if is_lost(error):
                raise
            if timeout < self.limit.fair and not self.limit.deadline.left:
                message = f"no time was left for model {config.name!r} on {self.server}: {reason(error)}"
                raise not_ready(f"{message}; raise spec.rollout.verifySeconds") from error
            if time.monotonic() - begin > 0.95 * timeout:  # gRPC's clock is not ours
                raise HungError(f"no answer within {timeout:.0f} s ({reason(error)})") from error
            raise
