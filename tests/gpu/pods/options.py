"""Runs in the builder's image on a GPU: small graphs, built with what a spec can ask for.

`options.py`; prints one line of JSON for each check, and ends with 1 where one failed. Expectations are those
of TensorRT until 10, where flags permit precisions and the engine's inspector tells what became of them.
"""

import ctypes
import json
import sys
import time
from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from trial import Result, build, cropping, model_of


def network(*, kind: int = TensorProto.FLOAT, quantised: bool = False, operator: str = "Relu") -> bytes:
    """x → Conv → Relu → Conv → Softmax → y, 32 channels."""
    weights = (
        np.random.default_rng(0).normal(0, 0.05, (32, 32, 3, 3)).astype(helper.tensor_dtype_to_np_dtype(kind))
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["a"], ["b"], "middle"),
        helper.make_node("Conv", ["b", "w"], ["c"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["c"], ["y"], "last", axis=1),
    ]
    given = [numpy_helper.from_array(weights, "w")]
    if quantised:
        given += [
            numpy_helper.from_array(np.array(0.02, np.float32), "s"),
            numpy_helper.from_array(np.array(0, np.int8), "z"),
        ]
        for name, node in (("x", nodes[0]), ("b", nodes[2])):
            node.input[0] = f"{name}d"
            nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"], f"{name}q"))
            nodes.append(
                helper.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"], f"{name}d")
            )
        nodes.append(helper.make_node("QuantizeLinear", ["w", "s", "z"], ["wq"], "wq"))
        nodes.append(helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"], "wd"))
        nodes[0].input[1] = nodes[2].input[1] = "wd"
        nodes = [*nodes[4:6], *nodes[8:10], *nodes[0:2], *nodes[6:8], *nodes[2:4]]
    shape = ["n", 32, 56, 56]
    return model_of(nodes, [("x", kind, shape)], [("y", kind, shape)], given)


def layers(result: Result) -> dict[str, int]:
    found: dict[str, int] = result["provenance"]["layers"]
    return found


def faulty(result: Result, code: str, *words: str) -> bool:
    fault = result.get("fault") or {}
    said = f"{fault.get('field')}: {fault.get('message')}"
    return fault.get("code") == code and all(word in said for word in words)


def typed(result: Result, name: str) -> str:
    tensors = (*result["io"]["inputs"], *result["io"]["outputs"])
    return next(str(tensor["data_type"]) for tensor in tensors if tensor["name"] == name)


def starved() -> Result:
    """A build while this process holds nearly all of the GPU's memory."""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    cuda.cuInit(0)
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device)
    free, total, address = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_uint64()
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    # A builder of its own needs some hundred MiB for its context alone.
    cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(free.value - (700 << 20)))
    try:
        return build(network(), max_batch_size=4096)
    finally:
        cuda.cuCtxDestroy_v2(context)


CHECKS: dict[str, tuple[Callable[[], Result], Callable[[Result], bool]]] = {
    "half precision is taken": (
        lambda: build(network(), precision="fp16"),
        lambda result: layers(result).get("HALF", 0) > 0 and bool(result["provenance"]["gpu"]["product"]),
    ),
    "fp32 stays fp32": (
        lambda: build(network()),
        lambda result: "HALF" not in layers(result) and layers(result).get("FLOAT", 0) > 0,
    ),
    "what is kept stays in fp32": (
        lambda: build(network(), precision="fp16", keep_fp32={"ops": ["Conv"], "nodes": ["last"]}),
        lambda result: result["provenance"]["kept_in_fp32"] == 3 and layers(result).get("FLOAT", 0) > 0,
    ),
    "inputs and outputs in half": (
        lambda: build(
            network(),
            precision="fp16",
            io=[{"name": "x", "data_type": "fp16"}, {"name": "y", "data_type": "fp16"}],
        ),
        lambda result: typed(result, "x") == typed(result, "y") == "TYPE_FP16",
    ),
    "inputs in half, computed in fp32": (
        lambda: build(network(), io=[{"name": "x", "data_type": "fp16"}]),
        lambda result: typed(result, "x") == "TYPE_FP16" and typed(result, "y") == "TYPE_FP32",
    ),
    "quantised layers": (
        lambda: build(network(quantised=True), precision="int8"),
        lambda result: layers(result).get("INT8", 0) > 0,
    ),
    "a graph in half is no fp32": (
        lambda: build(network(kind=TensorProto.FLOAT16)),
        lambda result: faulty(result, "InvalidModel", "precision", "computes in HALF"),
    ),
    "a shape tensor": (
        lambda: build(
            cropping(),
            max_batch_size=0,
            profiles=[{"values": [{"name": "size", "min": [1], "opt": [32], "max": [64]}]}],
        ),
        lambda result: result["io"]["inputs"][1]["is_shape_tensor"] and typed(result, "size") == "TYPE_INT32",
    ),
    "another GPU": (
        lambda: build(network(), gpu_product="NVIDIA-L4"),
        lambda result: faulty(result, "GPUMismatch", "NVIDIA-L4"),
    ),
    "an unknown operator": (
        lambda: build(network(operator="NoSuchOp")),
        lambda result: faulty(result, "InvalidModel", "node middle, operator NoSuchOp"),
    ),
    "for newer GPUs too": (
        lambda: build(network(), builder={"hardware_compatibility": "AmperePlus", "optimization_level": 1}),
        lambda result: "io" in result,
    ),
    "too little workspace": (
        lambda: build(network(), builder={"workspace": "1Mi"}),
        lambda result: "io" in result or faulty(result, "InvalidSpec", "builder.workspace"),
    ),
    "too little memory": (starved, lambda result: faulty(result, "GPUOutOfMemory")),
}


def main() -> int:
    failed = 0
    for name, (make, holds) in CHECKS.items():
        began = time.monotonic()
        result = make()
        try:
            passed = bool(holds(result))
        except (KeyError, TypeError):
            passed = False
        failed += not passed
        provenance = result.get("provenance", {})
        line = {
            "check": name,
            "passed": passed,
            "seconds": round(time.monotonic() - began, 1),
            "fault": result.get("fault"),
            **{key: provenance.get(key) for key in ("layers", "kept_in_fp32", "gpu", "warnings")},
        }
        print("figure", json.dumps(line), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
