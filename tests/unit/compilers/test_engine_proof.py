"""Proofs of engines. The reference is real; the GPU is a fake that answers as a good or bad engine would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ensemble_builder.compilers.parameters import InputFile
from ensemble_builder.compilers.tensorrt import proof as prover
from ensemble_builder.compilers.tensorrt.accuracy import Array
from ensemble_builder.compilers.tensorrt.cuda import CudaDevice, CudaError
from ensemble_builder.compilers.tensorrt.proof import ProofJob, Trying
from ensemble_builder.compilers.tensorrt.proof_settings import OutputLimit, ProofSettings, SampleFiles
from ensemble_builder.compilers.tensorrt.proving import of_stored
from ensemble_builder.compilers.tensorrt.reference import OnnxReference
from ensemble_builder.compilers.tensorrt.report import Device
from ensemble_builder.compilers.tensorrt.runner import Speed
from ensemble_builder.compilers.tensorrt.samples import EngineInput, Range
from ensemble_builder.faults import FaultError
from ensembles_api.contract import ArtifactRecord, BuildOrder, Fault, LockedFile, OrderedProof, Proof
from ensembles_api.reasons import Reason
from ensembles_api.spec import Precision, Reference
from tests.unit.compilers.engine_building import compile_onnx, convolution

FIELD = "spec.models[1].tensorrt"
FLOAT = np.dtype(np.float32)
Change = Callable[[dict[str, Array]], dict[str, Array]]


def network(*, constant: bool = False, operator: str = "Relu") -> bytes:
    """y = relu(x @ w), label = the largest of y; with `constant`, both are the same for every x."""
    weights = np.zeros((4, 5), np.float32) if constant else np.random.default_rng(1).normal(size=(4, 5))
    bias = np.arange(5, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["a"]),
            helper.make_node(operator, ["a"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
        ],
        [numpy_helper.from_array(weights.astype(np.float32), "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


class FakeGpuEngine:
    """Answers as ONNX Runtime does, changed by `change`."""

    def __init__(self, model: Path, change: Change) -> None:
        self._true = OnnxReference(model)
        self._change = change
        self.memory: dict[str, int] = {"activations": 1, "used": 2}
        self.output_types: dict[str, np.dtype[np.generic]] = {"y": FLOAT, "label": np.dtype(np.int64)}
        self.inputs = (EngineInput("x", FLOAT, (Range((1, 4), (8, 4), (32, 4)),)),)
        self.batches: list[int] = []

    def stored_type(self, name: str) -> str:
        return {"x": "FLOAT"}[name]

    def run(self, inputs: Mapping[str, Array], *, profile: int) -> dict[str, Array]:
        assert profile == 0
        self.batches.append(len(inputs["x"]))
        return self._change(dict(self._true.answers(inputs)))

    def measure(self, inputs: Mapping[str, Array], *, profile: int, batch: int) -> Speed:
        assert (profile, len(inputs["x"])) == (0, batch)
        return Speed(runs=10, p50_ms=2.0, p99_ms=3.0, per_second=batch * 500.0)


def as_it_is(answers: dict[str, Array]) -> dict[str, Array]:
    return answers


def noisy(share: float) -> Change:
    return lambda answers: {**answers, "y": answers["y"].astype(np.float32) * (1 + share)}


def prove(
    tmp_path: Path, change: Change = as_it_is, *, model: bytes | None = None, **settings: object
) -> Proof:
    file = tmp_path / "model.onnx"
    file.write_bytes(network() if model is None else model)
    known = tmp_path / "known.onnx"
    known.write_bytes(network())
    engine = FakeGpuEngine(file if model is None or b"Nonsense" not in model else known, change)
    job = ProofJob(
        plan="",
        model=str(file),
        samples=str(tmp_path),
        field=FIELD,
        precision=Precision.FP16,
        batching=True,
        settings=ProofSettings.model_validate(settings),
    )
    trying = Trying(job, engine)
    trying.run_all()
    assert 32 in engine.batches
    return trying.proof(seconds=1)


def test_a_good_engine(tmp_path: Path) -> None:
    proof = prove(tmp_path, noisy(0.004))

    assert proof.verdict == "Passed"
    assert not proof.notes
    assert proof.summary.startswith("verified: worst relative L2 0.004 (limit 0.02), output 'y'")
    assert "p50 2 ms, 16000/s at batch 32" in proof.summary
    assert [row["batch"] for row in proof.report["table"]] == [1, 1, 8, 8, 32, 32]
    assert proof.report["speed"][-1]["speed"]["p99_ms"] == 3.0
    assert proof.report["memory"] == {"activations": 1, "used": 2}
    assert proof.report["onnxruntime"] == onnxruntime.__version__


def test_a_bad_engine_is_refused_with_its_figures(tmp_path: Path) -> None:
    with pytest.raises(FaultError) as caught:
        prove(tmp_path, noisy(0.3))

    fault = caught.value.fault
    assert fault.code is Reason.ACCURACY_OUT_OF_TOLERANCE
    assert fault.field == f"{FIELD}.verification"
    assert "'y': relative L2 0.3 (limit 0.02) at batch" in fault.message
    assert "keepFp32" in fault.message


def test_an_engine_that_mixes_up_its_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="batch 32"):
        prove(tmp_path, lambda answers: {name: values[::-1] for name, values in answers.items()})


def test_wrong_integers_are_counted(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="'label': agreement 0 "):
        prove(tmp_path, lambda answers: {**answers, "label": answers["label"].astype(np.int64) + 1})


def test_tolerances_of_the_user(tmp_path: Path) -> None:
    assert prove(tmp_path, noisy(0.3), relative_l2=0.4).verdict == "Passed"
    limit = OutputLimit(name="y", relative_l2=0.4)
    assert prove(tmp_path, noisy(0.3), outputs=(limit,)).verdict == "Passed"


def test_a_reference_that_answers_everything_alike_is_no_pass(tmp_path: Path) -> None:
    proof = prove(tmp_path, model=network(constant=True))

    assert proof.verdict == "Inconclusive"
    assert "answers every input alike" in proof.notes[0]
    assert proof.summary.startswith("verification inconclusive")


def test_an_onnx_that_the_cpu_cannot_run_is_no_pass(tmp_path: Path) -> None:
    proof = prove(tmp_path, model=network(operator="Nonsense"))

    assert proof.verdict == "Inconclusive"
    assert "ONNX Runtime cannot load the model" in proof.notes[0]
    assert proof.report["speed"], "it ran all the same"


def test_samples_with_answers_need_no_onnx_runtime(tmp_path: Path) -> None:
    x = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    (tmp_path / "true.onnx").write_bytes(network())
    true = OnnxReference(tmp_path / "true.onnx").answers({"x": x})
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", true["y"])
    samples = (
        SampleFiles(
            inputs=(InputFile(name="x", file="x.npy"),), outputs=(InputFile(name="y", file="y.npy"),)
        ),
    )

    proof = prove(tmp_path, noisy(0.001), samples=samples, reference=Reference.SAMPLES)

    assert proof.verdict == "Inconclusive", "nobody said what the labels are"
    assert proof.notes == ("the reference has no output 'label'",)
    assert {row["result"]["output"] for row in proof.report["table"]} == {"y"}


def test_no_reference_compares_nothing(tmp_path: Path) -> None:
    proof = prove(tmp_path, noisy(5), reference=Reference.NONE)

    assert proof.verdict == "Skipped"
    assert proof.notes == ("verification.reference is None: nothing was compared",)


def selecting() -> bytes:
    """rows: the indices of the x that are positive, as many as there are; y = relu(x)."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["y"]),
            helper.make_node("NonZero", ["y"], ["n"]),
            helper.make_node("Transpose", ["n"], ["rows"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("rows", TensorProto.INT64, ["m", 2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_an_output_without_a_batch_axis_is_compared_at_small_batches(tmp_path: Path) -> None:
    proof = prove(tmp_path, model=selecting())

    assert proof.verdict == "Passed"
    assert [row["batch"] for row in proof.report["table"] if row["result"]["output"] == "rows"] == [1, 8]


def test_a_reference_reads_external_data(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(network())
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)

    answers = OnnxReference(tmp_path / "m.onnx").answers({"x": np.ones((2, 4), np.float32)})

    assert answers["y"].shape == (2, 5)


def no_gpu_here() -> bool:
    try:
        CudaDevice().free()
    except CudaError:
        return True
    return False


def test_a_stored_engine_is_proven_on_the_gpu_it_is_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would notice: on some other GPUs it runs, and its times are theirs."""
    monkeypatch.setattr(
        prover, "find_device", lambda: Device(product="L4", compute_capability="8.9", memory=1)
    )
    settings = ProofSettings()
    job = ProofJob(
        plan="", model="", samples="", field=FIELD, precision=Precision.FP16, batching=True,
        settings=settings, gpu_product="NVIDIA-H200",
    )  # fmt: skip

    with pytest.raises(FaultError, match="ran on L4, the target names NVIDIA-H200") as caught:
        prover.prove(job)
    assert caught.value.fault.code is Reason.GPU_MISMATCH


def test_an_engine_in_storage_that_does_not_run_says_how_to_be_rid_of_it() -> None:
    """Nothing builds it again as long as its record is there."""
    order = BuildOrder(
        kind="tensorrt", key="7" * 64, model="net", version=1, field=FIELD, inputs=(), parameters={}
    )
    broken = Fault(code=Reason.COMPILE_FAILED, field=FIELD, message="the engine does not run")
    inexact = Fault(code=Reason.ACCURACY_OUT_OF_TOLERANCE, field=FIELD, message="too far off")

    assert f"delete artifacts/tensorrt/{'7' * 64}.json" in of_stored(order, broken).message
    assert of_stored(order, inexact) == inexact, "another tolerance is its cure"


@pytest.mark.skipif(not no_gpu_here(), reason="there is a GPU")
def test_without_a_gpu_an_rtx_engine_is_built_and_not_proven(tmp_path: Path) -> None:
    ordered = OrderedProof(key="1" * 64, settings={})

    built = compile_onnx(tmp_path, convolution(), max_batch_size=2, proof=ordered)

    assert built.fault is None
    assert built.proof is not None
    assert built.proof.verdict == "Skipped"
    assert "there is no NVIDIA driver" in built.proof.notes[0]

    (tmp_path / "built").mkdir()
    (tmp_path / "out/model.plan").rename(tmp_path / "built/model.plan")
    plan = LockedFile(path="model.plan", sha256="2" * 64, size=1)
    assert built.io is not None
    record = ArtifactRecord(kind="tensorrt", key="0" * 64, files=(plan,), io=built.io)
    (tmp_path / "record.json").write_bytes(record.canonical())
    again = compile_onnx(tmp_path, b"not read", max_batch_size=2, proof=ordered)
    assert again.files == (), "nothing was built"
    assert again.proof == built.proof
