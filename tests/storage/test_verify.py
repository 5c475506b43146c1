"""verify against a real tritonserver whose models are Python files of one line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.commands import verify
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Result, SampleTensor
from ensembles_api.reasons import Reason
from ensembles_api.verification import VerificationCase, VerificationPlan
from tests.storage.support.triton import RunningServer, tritonserver

CODE = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            y = {expression}
            answers.append(pb.InferenceResponse([pb.Tensor("y", y)]))
        return answers
"""
STREAM = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            sender = request.get_response_sender()
            for _ in range({count}):
                sender.send(pb.InferenceResponse([pb.Tensor("y", {expression})]))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def config(
    name: str, *, batch: int = 8, dims: str = "3", output: str = "", extra: str = "", more: str = ""
) -> str:
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: {batch}\n'
        f'input [{{ name: "x" data_type: TYPE_FP32 dims: [{dims}] }}{more}]\n'
        f'output [{{ name: "y" data_type: TYPE_FP32 dims: [{output or dims}] }}]\n{extra}\n'
    )


DECOUPLED = "model_transaction_policy { decoupled: true }"
ONE_NAN = "np.where(np.arange(x.size).reshape(x.shape) == 1, np.nan, x).astype(np.float32)"
WITH_OPTIONAL = ', { name: "z" data_type: TYPE_STRING dims: [1] optional: true }'
MODELS: dict[str, tuple[str, str]] = {
    "double": (config("double"), CODE.format(expression="x * 2")),
    "nan": (config("nan"), CODE.format(expression=ONE_NAN)),
    "misshapen": (config("misshapen"), CODE.format(expression="np.zeros((len(x), 5), np.float32)")),
    "only-one": (config("only-one"), CODE.format(expression="x if len(x) == 1 else 1 // 0")),
    "image": (
        config("image", dims="3, -1, -1", output="-1", batch=0),
        CODE.format(expression="x[0, :, 0] if x.shape[1] >= 200 else 1 // 0"),
    ),
    "picky": (config("picky", dims="-1"), CODE.format(expression="x if x.sum() else 1 // 0")),
    "stream": (config("stream", batch=0, extra=DECOUPLED), STREAM.format(count=2, expression="x")),
    "stream-bad": (
        config("stream-bad", batch=0, extra=DECOUPLED),
        STREAM.format(count=1, expression="x[:1]"),
    ),
    "stream-empty": (
        config("stream-empty", batch=0, extra=DECOUPLED),
        STREAM.format(count=0, expression="x"),
    ),
    "sequence": (
        config("sequence", extra="sequence_batching { max_sequence_idle_microseconds: 5000000 }"),
        CODE.format(expression="x"),
    ),
    "optional": (config("optional", more=WITH_OPTIONAL), CODE.format(expression="x")),
    "slow": (config("slow", batch=0), CODE.format(expression="x if not __import__('time').sleep(2) else x")),
}
ENSEMBLE = """
name: "both" platform: "ensemble" max_batch_size: 4
input [{ name: "in" data_type: TYPE_FP32 dims: [3] }]
output [{ name: "out" data_type: TYPE_FP32 dims: [3] }]
ensemble_scheduling { step [
  { model_name: "double" model_version: -1
    input_map { key: "x" value: "in" } output_map { key: "y" value: "mid" } },
  { model_name: "double" model_version: -1
    input_map { key: "x" value: "mid" } output_map { key: "y" value: "out" } }
] }
"""


def write(repository: Path, name: str, text: str, code: str = "") -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text)
    if code:
        (version / "model.py").write_text(code)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    base = tmp_path_factory.mktemp("triton")
    for name, (text, code) in MODELS.items():
        write(base / "models", name, text, code)
    write(base / "models", "both", ENSEMBLE)
    with tritonserver(base / "models", base / "log") as running:
        yield running


def check(server: RunningServer, folder: Path, *cases: VerificationCase, **options: object) -> Result:
    (folder / "verification").mkdir(exist_ok=True)
    (folder / "verification/cases.json").write_bytes(VerificationPlan(cases=cases).canonical())
    given: dict[str, object] = {
        "host": "127.0.0.1",
        "replicas": 1,
        "entrypoint": cases[0].model,
        "timeout": 30.0,
    }
    result = verify.run(**({"port": server.port, "files": folder} | given | options))  # type: ignore[arg-type]
    if result.fault:
        raise FaultError(result.fault)
    return result


def sample(folder: Path, *values: float) -> tuple[SampleTensor, ...]:
    data = np.asarray(values, np.float32).tobytes()
    (folder / "verification/samples").mkdir(parents=True, exist_ok=True)
    path = f"samples/{sha256(data)}"
    (folder / "verification" / path).write_bytes(data)
    return (SampleTensor(name="x", data_type="TYPE_FP32", shape=(1, len(values)), file=path),)


@pytest.mark.parametrize("model", ["double", "both", "stream", "sequence", "optional"])
def test_healthy_models_pass_with_zeros(server: RunningServer, tmp_path: Path, model: str) -> None:
    assert check(server, tmp_path, VerificationCase(model=model)).warnings == ()


def test_free_axes_are_tried_with_several_sizes(server: RunningServer, tmp_path: Path) -> None:
    assert check(server, tmp_path, VerificationCase(model="image", guessed=True)).warnings == ()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nan", "output 'y': 1 of 3 values are not finite, the first at [0, 1]: nan"),
        ("misshapen", "output 'y' has shape [1, 5] instead of [1, 3]"),
        ("only-one", "batch 8"),
        ("stream-bad", "output 'y' has shape [1] instead of [3]"),
        ("stream-empty", "ended the stream without an answer"),
    ],
)
def test_a_bad_answer_names_model_tensor_and_figures(
    server: RunningServer, tmp_path: Path, model: str, said: str
) -> None:
    with pytest.raises(FaultError) as caught:
        check(server, tmp_path, VerificationCase(model=model))
    fault = caught.value.fault
    assert fault.code is Reason.VERIFICATION_FAILED
    assert f"model {model!r}" in fault.message
    assert said in fault.message


def test_a_model_that_had_time_and_did_not_answer_fails(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(FaultError) as caught:
        check(server, tmp_path, VerificationCase(model="slow"), timeout=1.5)
    assert caught.value.fault.code is Reason.VERIFICATION_FAILED


def test_a_guess_may_be_refused_but_not_left_without_an_answer(server: RunningServer, tmp_path: Path) -> None:
    cases = (VerificationCase(model="slow", guessed=True), VerificationCase(model="double"))
    with pytest.raises(FaultError, match=r"no answer within 1 s .*smokeTest") as caught:
        check(server, tmp_path, *cases, timeout=1.5)
    assert caught.value.fault.code is Reason.VERIFICATION_FAILED


def test_a_model_that_was_left_no_time_is_asked_again(server: RunningServer, tmp_path: Path) -> None:
    twice = (VerificationCase(model="slow"), VerificationCase(model="slow"))
    with pytest.raises(FaultError, match=r"raise spec\.rollout\.verifySeconds") as caught:
        check(server, tmp_path, *twice, timeout=3.2)
    assert caught.value.fault.code is Reason.SERVERS_NOT_READY


def test_a_sample_is_sent_where_zeros_would_be_refused(server: RunningServer, tmp_path: Path) -> None:
    case = VerificationCase(model="picky", inputs=sample(tmp_path, 1.0, 2.0))
    assert check(server, tmp_path, case).warnings == ()
    with pytest.raises(FaultError, match="picky"):
        check(server, tmp_path, VerificationCase(model="picky"))


def test_a_refused_guess_is_a_warning(server: RunningServer, tmp_path: Path) -> None:
    (warning,) = check(server, tmp_path, VerificationCase(model="picky", guessed=True)).warnings
    assert "'picky'" in warning


def test_an_absent_model_is_named(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(
        FaultError, match=r"model 'absent' on .*: there is no such model; it has both, double"
    ):
        check(server, tmp_path, VerificationCase(model="double"), entrypoint="absent")


def test_missing_servers_are_counted(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(FaultError, match=r"1 of 2 servers of 127\.0\.0\.1 are ready"):
        check(server, tmp_path, VerificationCase(model="double"), replicas=2, timeout=1.5)


def test_a_silent_port_says_so(tmp_path: Path, server: RunningServer) -> None:
    with pytest.raises(FaultError, match=r"0 of 1 servers of 127\.0\.0\.1 are ready; 127\.0\.0\.1:1: "):
        check(server, tmp_path, VerificationCase(model="double"), timeout=1.5, port=1)


def test_an_unloaded_model_fails_although_the_server_is_ready(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write(repository, "double", *MODELS["double"])
    write(repository, "broken", config("broken"), "raise RuntimeError('cannot start')")
    with tritonserver(repository, tmp_path / "log") as running, pytest.raises(FaultError) as caught:
        check(running, tmp_path, VerificationCase(model="double"), timeout=3.0)
    assert "broken" in caught.value.fault.message or "not ready" in caught.value.fault.message
