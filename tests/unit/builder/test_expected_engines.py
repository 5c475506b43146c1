"""What is known of an engine before it is built."""

from __future__ import annotations

from typing import Any

from ensemble_builder.artifacts.members import expected_engine
from ensembles_api.contract import ModelIO, Tensor
from ensembles_api.spec import TensorRT

X = Tensor(name="x", data_type="TYPE_FP32", shape=(3,))
Y = Tensor(name="y", data_type="TYPE_FP32", shape=(10,))
ONNX = ModelIO(batchable=True, inputs=(X,), outputs=(Y,))


def engine(**fields: Any) -> TensorRT:
    return TensorRT.model_validate({"source": {"uri": "s3://b/net.onnx"}, **fields})


def test_stated_types_are_those_of_the_engine() -> None:
    found = expected_engine(ONNX, engine(io=[{"name": "x", "dataType": "fp16"}]))

    assert found is not None
    assert [tensor.data_type for tensor in (*found.inputs, *found.outputs)] == ["TYPE_FP16", "TYPE_FP32"]


def test_what_only_the_engine_can_tell_is_left_open() -> None:
    values = [{"values": [{"name": "x", "min": [1], "opt": [1], "max": [1]}]}]
    assert expected_engine(ONNX, engine(profiles=values)) is None
    for wide in ("TYPE_INT64", "TYPE_FP64"):
        outputs = (Y.model_copy(update={"data_type": wide}),)
        assert expected_engine(ONNX.model_copy(update={"outputs": outputs}), engine()) is None
