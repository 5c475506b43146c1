"""The verification of a rollout's servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import parse
from ensemble_builder.commands.log import say, step
from ensemble_builder.commands.verify.answers import complaints
from ensemble_builder.commands.verify.inference import infer
from ensemble_builder.commands.verify.requests import Request, requests
from ensemble_builder.commands.verify.servers import (
    CALL_SECONDS,
    PAUSE,
    Deadline,
    failed,
    is_lost,
    not_ready,
    reason,
    wait_for_servers,
)
from ensembles_api.contract import Result, VerificationCase, VerificationPlan

WORKERS = 8
INFERENCE_SECONDS = 300.0


def run(*, host: str, port: int, replicas: int, files: Path, entrypoint: str, timeout: float) -> Result:
    """Wait for the servers, then ask every model of every server.

    Args:
        host: a name that resolves to every server's address.
        port: gRPC port.
        replicas: servers to wait for.
        files: what `fetch revision` wrote: verification/cases.json and samples lie in it.
        entrypoint: the model clients call: it must be among the models served.
        timeout: seconds for waiting and asking together.

    Returns:
        Result with warnings for guessed requests that were refused.

    Raises:
        FaultError: VerificationFailed naming server, model, tensor and figures; ServersNotReady where the
        servers came too late, or went away, to be judged.
    """
    folder = files / layout.VERIFICATION
    plan = _plan(folder)
    deadline = Deadline(time.monotonic() + timeout)
    time_left = _Time(deadline, fair=min(INFERENCE_SECONDS, timeout / 2))
    while True:
        servers = wait_for_servers(host, port, replicas=replicas, deadline=deadline)
        try:
            with step(f"asked {len(servers)} servers"), ThreadPoolExecutor(WORKERS) as pool:
                checks = pool.map(lambda server: _check(server, plan, entrypoint, folder, time_left), servers)
                warnings = dict.fromkeys(warning for found in checks for warning in found)
            return Result(warnings=tuple(warnings))
        except InferenceServerException as error:
            if not deadline.left:
                raise not_ready(f"a server went away while it was asked: {reason(error)}") from error
            say(f"a server went away, once more: {reason(error)}")
            time.sleep(min(PAUSE, deadline.left))


@dataclass(frozen=True)
class _Time:
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


def _plan(folder: Path) -> VerificationPlan:
    plan = parse(VerificationPlan, (folder / layout.CASES.rpartition("/")[2]).read_bytes())
    if plan is None:
        raise failed(f"{layout.CASES} is none of this contract")
    return plan


def _check(
    server: str, plan: VerificationPlan, entrypoint: str, folder: Path, time_left: _Time
) -> tuple[str, ...]:
    """Warnings of one server.

    Raises:
        InferenceServerException: the server went away.
    """
    with InferenceServerClient(server) as client:
        _check_models(client, server, {case.model for case in plan.cases} | {entrypoint})
        server_check = _ServerCheck(client, server, folder, time_left)
        return tuple(warning for case in plan.cases for warning in server_check.ask(case))


def _check_models(client: InferenceServerClient, server: str, wanted: set[str]) -> None:
    """Every model the server has, and every one we expect, must be ready: strict readiness alone lets an
    unloaded model pass.
    """
    index = client.get_model_repository_index(client_timeout=CALL_SECONDS)
    states = {model.name: (model.state, model.reason) for model in index.models}
    for name in sorted(wanted - states.keys()):
        raise failed(f"{server} has no model {name!r}; it has {', '.join(sorted(states))}")
    for name, (state, why) in states.items():
        if state != "READY":
            raise failed(f"model {name!r} on {server} is {state or 'not loaded'}{f': {why}' if why else ''}")


@dataclass(frozen=True)
class _ServerCheck:
    client: InferenceServerClient
    server: str
    folder: Path
    time_left: _Time

    def ask(self, case: VerificationCase) -> Iterator[str]:
        config = self._config(case.model)
        sequence = self._keeps_state(config)
        for alternatives in requests(case, config, self.folder, sequence=sequence):
            found = self._best(config, alternatives, sequence=sequence)
            if not found:
                continue
            message = f"model {case.model!r} on {self.server}, {alternatives[-1].description}: {found[0]}"
            if not case.guessed:
                raise failed(message)
            yield f"not proven, no sample is known to fit: model {case.model!r}: {found[0]}"
            return

    def _config(self, model: str) -> ModelConfig:
        return self.client.get_model_config(model, client_timeout=CALL_SECONDS).config

    def _keeps_state(self, config: ModelConfig) -> bool:
        """Whether the model, or a step of it, is a sequence model (the server refuses cycles of
        ensembles).
        """
        return config.HasField("sequence_batching") or any(
            self._keeps_state(self._config(name))
            for name in {step.model_name for step in config.ensemble_scheduling.step}
        )

    def _best(
        self, config: ModelConfig, alternatives: tuple[Request, ...], *, sequence: bool
    ) -> tuple[str, ...]:
        """Complaints about the best answered of several requests; none where one is answered well."""
        found: tuple[str, ...] = ()
        for request in alternatives:
            found = self._complaints(config, request, sequence=sequence)
            if not found:
                break
        return found

    def _complaints(self, config: ModelConfig, request: Request, *, sequence: bool) -> tuple[str, ...]:
        streamed = bool(config.model_transaction_policy.decoupled)
        timeout = self.time_left.seconds
        try:
            answers = infer(self.client, config, request, sequence=sequence, timeout=timeout)
        except InferenceServerException as error:
            if is_lost(error):
                raise
            if timeout < self.time_left.fair and not self.time_left.deadline.left:
                message = f"no time was left for model {config.name!r} on {self.server}: {reason(error)}"
                raise not_ready(f"{message}; raise spec.rollout.verifySeconds") from error
            return (reason(error),)
        if not answers:
            return ("the model ended the stream without an answer",)
        return tuple(
            complaint
            for answer in answers
            for complaint in complaints(config, answer, batch=request.batch, streamed=streamed)
        )
