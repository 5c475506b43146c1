"""A container of the user's writes the model on the real cluster, and the server answers with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.e2e import live

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

IMAGE = "localhost/ensembles/tools:dev"
"""Any image that can write ONNX will do; this one is there and has the onnx package."""
SCRIPT = """
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

assert not [name for name in os.environ if "AWS" in name], "the container holds keys"
assert not os.access("/inputs", os.W_OK), "the inputs can be changed"
assert not Path("/work").exists(), "the order can be changed"
scale = float(Path("/inputs/settings/scale.txt").read_text())
x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])
y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 4])
weights = [numpy_helper.from_array(np.full(4, scale, np.float32), "scale")]
graph = helper.make_graph([helper.make_node("Mul", ["X", "scale"], ["Y"])], "scaled", [x], [y], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
target = os.environ["EXPORT_OUTPUT"]
onnx.save(model, target, save_as_external_data=True, location="weights.bin", size_threshold=0)
"""


def models(space: live.Namespace, scale: int) -> list[dict[str, Any]]:
    settings = space.put(f"settings-{scale}/scale.txt", str(scale)).removesuffix("scale.txt")
    export = {
        "image": IMAGE,
        "command": ["python", "/inputs/export.py"],
        "inputs": [
            {"name": "export.py", "source": {"inline": SCRIPT}},
            {"name": "settings", "source": {"uri": settings}},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
    }
    return [{"name": "net", "maxBatchSize": 8, "onnxruntime": {"export": export}}]


def answer(ensemble: live.Ensemble) -> float:
    return float(ensemble.infer("net", {"X": np.ones((1, 4), np.float32)})["Y"][0, 0])


def exports(space: live.Namespace) -> set[str]:
    return {key for key in space.objects("store/artifacts/export/") if key.endswith(".json")}


def test_a_model_is_exported_once_for_its_inputs(namespace: live.Namespace) -> None:
    first = namespace.apply("first", models(namespace, 3))
    first.wait(seconds=240)
    assert answer(first) == 3
    assert "onnxruntime.export.image" in first.status["warnings"][0], "a tag may move"
    assert len(exports(namespace)) == 1

    second = namespace.apply("second", models(namespace, 3))
    second.wait(seconds=240)
    assert len(exports(namespace)) == 1, "the other ensemble uses what is there"

    namespace.apply("first", models(namespace, 5))
    live.eventually(lambda: answer(first) == 5, seconds=240, what=first.describe)
    assert len(exports(namespace)) == 2
