"""What is read out of TensorRT's logs, its inspector and the GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from onnx import TensorProto, helper

from ensemble_builder.compilers.tensorrt import graph
from ensemble_builder.compilers.tensorrt.compiler import check_architecture
from ensemble_builder.compilers.tensorrt.device import check_device, product_of
from ensemble_builder.compilers.tensorrt.failures import build_failure, run_failure
from ensemble_builder.compilers.tensorrt.network import made_from
from ensemble_builder.compilers.tensorrt.progress import Phases, Progress, VerboseLog
from ensemble_builder.compilers.tensorrt.readback import count_layers, layers_of
from ensemble_builder.compilers.tensorrt.report import Device
from ensemble_builder.faults import FaultError
from ensembles_api.contract import BuildOrder
from ensembles_api.reasons import Reason

H200 = Device(product="NVIDIA-H200", compute_capability="9.0", memory=1)
SLICE = Device(product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", compute_capability="8.0", memory=1, mig="1g.5gb")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (H200, ""),
        (H200, "NVIDIA-H200"),
        (H200, "NVIDIA-H200-SHARED"),
        (SLICE, "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"),
        (SLICE, "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED"),
        (SLICE, "NVIDIA-A100-SXM4-40GB"),
        (SLICE.model_copy(update={"product": "NVIDIA-A100-MIG-1g.5gbme"}), "NVIDIA-A100-MIG-1g.5gb.me"),
    ],
)
def test_the_gpu_is_the_one_asked_for(found: Device, wanted: str) -> None:
    check_device(found, wanted=wanted, rtx=False)


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        (H200, "NVIDIA-L4", "ran on NVIDIA-H200, the target names NVIDIA-L4"),
        (SLICE, "NVIDIA-A100-SXM4-40GB-MIG-2g.10gb", "ran on NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"),
        (None, "NVIDIA-L4", "sees no GPU, NVIDIA-L4 was asked for"),
        (None, "", "sees no GPU"),
    ],
)
def test_another_gpu_is_a_fault(found: Device | None, wanted: str, words: str) -> None:
    with pytest.raises(FaultError, match=words) as caught:
        check_device(found, wanted=wanted, rtx=False)
    assert caught.value.fault.code is Reason.GPU_MISMATCH


def test_products_are_written_as_the_node_label_writes_them() -> None:
    assert product_of("NVIDIA A100-SXM4-40GB MIG 1g.5gb") == "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
    assert product_of("Tesla T4") == "Tesla-T4"


def layer(
    kind: str,
    *,
    weights: str = "",
    count: int = 9,
    output: str = "N/A due to dynamic shapes",
    tactic: str = "",
) -> Any:
    return {
        "Name": kind,
        "LayerType": kind,
        "Outputs": [{"Name": "y", "Format/Datatype": output}],
        **({"Weights": {"Type": weights, "Count": count}} if weights else {}),
        **({"TacticName": tactic} if tactic else {}),
    }


def test_layers_are_counted_by_type() -> None:
    """As TensorRT 8.6 and 10 write them; with free axes they name no formats."""
    layers = [
        layer("CaskConvolution", weights="Half", tactic="sm80_xmma_fprop_f16f16_f16f16_f16_nhwckrsc"),
        layer("CaskConvolution", weights="Float", tactic="sm80_xmma_fprop_tf32f32_tf32f32_f32"),
        layer("CaskConvolution", weights="Int8"),
        layer("Pooling", output="Row major linear FP16 format"),
        layer("PointWiseV2", output="Float"),
        layer("CaskGemm", tactic="sm80_xmma_gemm_bf16bf16_bf16f32_f32"),
        layer("kgen"),
        layer("Reformat", output="Row major linear FP32"),
        "only a name",
    ]

    assert count_layers(layers) == {"BF16": 1, "FLOAT": 2, "HALF": 2, "INT8": 1, "UNKNOWN": 2}


def test_behind_quantisation_the_kernels_tell() -> None:
    """As TensorRT 8.6 wrote on an H200: the filter is an input, and the weights are none, of type Float."""
    kernels = (
        "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32",
        "sm80_xmma_fprop_implicit_gemm_interleaved_i8f32_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32",
    )
    layers = [layer("CaskConvolution", weights="Float", count=0, tactic=kernel) for kernel in kernels]
    assert count_layers(layers) == {"INT8": 2}


def test_the_inspectors_json_need_not_be_perfect() -> None:
    said = '{"Layers": [{"Name": "a", "Metadata": "[ONNX Layer: a]\x1e[ONNX Layer: b]"}], "Bindings": ["x"]}'

    assert [entry["Name"] for entry in layers_of(said)] == ["a"]
    assert layers_of("no json") == []


@pytest.mark.parametrize(
    ("errors", "workspace", "code", "field"),
    [
        (
            ["[defaultAllocator.cpp] Cuda Runtime (out of memory)"],
            None,
            Reason.GPU_OUT_OF_MEMORY,
            ".profiles",
        ),
        (
            ["10: Could not find any implementation for node Conv_0 due to insufficient workspace."],
            "1Mi",
            Reason.INVALID_SPEC,
            ".builder.workspace",
        ),
        (["10: Could not find any implementation for node Conv_0."], None, Reason.COMPILE_FAILED, ""),
        (["CUDA initialization failure with error: 2."], None, Reason.GPU_OUT_OF_MEMORY, ".profiles"),
        ([], None, Reason.COMPILE_FAILED, ""),
    ],
)
def test_a_failed_build_says_why(errors: list[str], workspace: str | None, code: Reason, field: str) -> None:
    fault = build_failure(errors, field="spec.models[0].tensorrt", workspace=workspace).fault

    assert (fault.code, fault.field) == (code, f"spec.models[0].tensorrt{field}")
    assert all(error in fault.message for error in errors)


@pytest.mark.parametrize(
    "warning",
    [
        "Tactic Device request: 8448MB Available: 512MB. Device memory is insufficient to use tactic.",
        "Skipping tactic 1 due to insufficient memory on requested size of 8858370048 detected.",
        "Requested amount of GPU memory (8858370048 bytes) could not be allocated.",
    ],
)
def test_kernels_skipped_for_memory_are_no_missing_kernels(warning: str) -> None:
    errors = ["10: Internal Error (Could not find any implementation for node first + middle.)"]

    fault = build_failure(errors, field="f", workspace=None, warnings=["something else", warning]).fault
    assert (fault.code, fault.field) == (Reason.GPU_OUT_OF_MEMORY, "f.profiles")
    assert warning in fault.message
    assert "first + middle" in fault.message

    other = build_failure(["4: something else"], field="f", workspace=None, warnings=[warning]).fault
    assert other.code is Reason.COMPILE_FAILED


# Of TensorRT 8.6.0 on an H200 with 700 MiB left.
STARVED = [
    "1: [caskUtils.cpp::createCaskHardwareInfo::858] Error Code 1: Cask (no further information)",
    "1: [checkMacros.cpp::catchCudaError::203] Error Code 1: Cuda Runtime (invalid resource handle)",
]


@pytest.mark.parametrize(
    ("free", "code"),
    [
        (200 << 20, Reason.GPU_OUT_OF_MEMORY),
        (0, Reason.GPU_OUT_OF_MEMORY),
        (40 << 30, Reason.COMPILE_FAILED),
        (None, Reason.COMPILE_FAILED),
    ],
)
def test_cuda_that_fails_on_a_full_gpu_fails_for_memory(free: int | None, code: Reason) -> None:
    assert build_failure(STARVED, field="f", workspace=None, free_memory=free).fault.code is code


def test_another_failure_on_a_full_gpu_is_what_it_says() -> None:
    said = ["4: [network.cpp::validate] Error Code 4: Internal Error (no outputs)"]
    assert build_failure(said, field="f", workspace=None, free_memory=0).fault.code is Reason.COMPILE_FAILED


@pytest.mark.parametrize(
    ("errors", "full", "reason"),
    [
        (["2: [executionContext.cpp::initializeExecutionContext::388] Error Code 2: OutOfMemory"], False,
         Reason.GPU_OUT_OF_MEMORY),
        ([], True, Reason.GPU_OUT_OF_MEMORY),
        (["1: [runner.cpp] Error Code 1: Myelin (illegal memory access)"], False, Reason.COMPILE_FAILED),
    ],
)  # fmt: skip
def test_an_engine_that_does_not_run_says_why(errors: list[str], full: bool, reason: Reason) -> None:  # noqa: FBT001
    found = run_failure("no execution context", errors, field="f", full=full).fault

    assert found.code is reason
    assert "no execution context" in found.message
    assert all(error in found.message for error in errors)


def test_an_empty_last_word_is_not_what_is_quoted() -> None:
    errors = [
        "9: x: cannot be",
        "2: [builder.cpp::751] Internal Error (Assertion engine != nullptr failed. )",
    ]

    assert build_failure(errors, field="f", workspace=None).fault.message.endswith("9: x: cannot be")


@pytest.mark.parametrize(
    ("name", "metadata", "held"),
    [
        ("head/MatMul", "", True),
        ("head/MatMul_3", "", True),  # the node's third layer
        ("head/MatMul_1", "", False),  # another node's first
        ("head/Add", "", False),
        ("anything", "[ONNX Layer: head/MatMul]", True),
        ("head/MatMul", "[ONNX Layer: head/MatMul_1]", False),
    ],
)
def test_a_layer_belongs_to_the_node_it_was_made_from(name: str, metadata: str, held: bool) -> None:  # noqa: FBT001
    """TensorRT 8.6, which is not here, has no metadata."""
    fake_layer = SimpleNamespace(name=name, metadata=metadata)
    names = {"head/MatMul", "head/MatMul_1", "head/Add"}

    assert made_from(fake_layer, {"head/MatMul"}, names=names) is held


def test_nested_phases_add_up_and_never_fall() -> None:
    told: list[int] = []
    progress = Progress(told.append)
    phases = Phases()
    phases.start("build", None, 2)
    phases.complete("build", 0)
    progress.reach(phases.share())
    phases.start("timing", "build", 4)
    for step in range(4):
        phases.complete("timing", step)
        progress.reach(phases.share())
    phases.finish("timing")
    progress.reach(phases.share())
    phases.complete("build", 1)
    progress.reach(phases.share())

    assert told == [50, 60, 75, 85, 100]


def test_older_builders_are_followed_by_their_verbose_log() -> None:
    told: list[int] = []
    log = VerboseLog(Progress(told.append))
    log.read("=============== Computing costs for ")
    log.read("After concat removal: 4 layers")
    for _ in range(5):
        log.read("=============== Computing costs for ")

    assert told == [25, 50, 75, 95]


def test_nodes_are_sorted_by_what_their_subgraphs_read_too() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["late"], ["z"])],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    choice = helper.make_node("If", ["condition"], ["y"], "choice", then_branch=inner, else_branch=inner)
    nodes = [choice, helper.make_node("Relu", ["x"], ["late"], "late")]
    made = helper.make_graph(nodes, "graph", [], [])

    graph.sort(made)

    assert [node.name for node in made.node] == ["late", "choice"]


def ordered(architecture: str) -> BuildOrder:
    return BuildOrder(
        kind="tensorrt",
        key="0" * 64,
        model="net",
        version=1,
        field="spec.models[0].tensorrt",
        architecture=architecture,
        inputs=(),
        parameters={},
    )


@pytest.mark.parametrize(("architecture", "machine"), [("", "x86_64"), ("arm64", "aarch64")])
def test_an_engine_is_built_beside_the_cpu_that_its_key_names(architecture: str, machine: str) -> None:
    check_architecture(ordered(architecture), machine)


@pytest.mark.parametrize(("architecture", "machine"), [("", "aarch64"), ("arm64", "x86_64")])
def test_another_cpu_is_refused_with_the_field_to_set(architecture: str, machine: str) -> None:
    with pytest.raises(FaultError) as caught:
        check_architecture(ordered(architecture), machine)
    assert (caught.value.fault.code, caught.value.fault.field) == (
        Reason.INVALID_SPEC,
        "spec.build.nodeSelector",
    )
    assert "arm64" in caught.value.fault.message
