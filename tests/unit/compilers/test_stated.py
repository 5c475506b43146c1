"""Settings of an engine that its ONNX alone shows to be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble_builder.compilers.tensorrt.stated import check_stated
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, ModelIO, Tensor
from ensembles_api.reasons import Reason
from ensembles_api.spec import TensorRT

FIELD = "spec.models[0].tensorrt"
X = Tensor(name="x", data_type="TYPE_FP32", shape=(3, 16, 16))
IMAGE = Tensor(name="x", data_type="TYPE_FP32", shape=(3, -1, -1))
LENGTH = Tensor(name="length", data_type="TYPE_INT64", shape=())
Y = Tensor(name="y", data_type="TYPE_FP32", shape=(10,))
NPY = {"uri": "s3://m/a.npy"}


def check(*inputs: Tensor, batchable: bool = True, batch: int | None = None, **stated: Any) -> None:
    io = ModelIO(batchable=batchable, inputs=inputs, outputs=(Y,))
    tensorrt = TensorRT.model_validate({"source": {"uri": "s3://m/n.onnx"}, **stated})
    check_stated(
        tensorrt,
        io,
        max_batch_size=batch,
        field=FIELD,
        model_field="spec.models[0]",
        source_field=f"{FIELD}.source",
    )


def refused(*inputs: Tensor, **stated: Any) -> Fault:
    with pytest.raises(FaultError) as caught:
        check(*inputs, **stated)
    return caught.value.fault


def shapes(low: list[int], best: list[int], high: list[int], name: str = "x") -> dict[str, Any]:
    return {"profiles": [{"shapes": [{"name": name, "min": low, "opt": best, "max": high}]}]}


VALUES = {"profiles": [{"values": [{"name": "length", "min": [1], "opt": [1], "max": [4]}]}]}
GOOD = shapes([1, 3, 8, 8], [1, 3, 8, 8], [4, 3, 9, 9])


@pytest.mark.parametrize(
    ("inputs", "stated"),
    [
        ([X], {}),
        ([X], {"batch": 8, "optBatchSize": 2}),
        ([X], {"batchable": False}),
        ([IMAGE], GOOD),
        # Its outputs may keep it from batching: then the first axis is as free as the others.
        ([IMAGE], shapes([2, 3, 8, 8], [2, 3, 8, 8], [4, 3, 9, 9])),
        # It may be a shape tensor, whose values TensorRT asks for.
        ([X, LENGTH], {"batch": 8}),
        ([LENGTH], {"optBatchSize": 9}),
        ([X, LENGTH], {"batchable": False, **VALUES}),
    ],
)
def test_what_may_be_right_is_left_to_the_build(inputs: list[Tensor], stated: dict[str, Any]) -> None:
    check(*inputs, **stated)


@pytest.mark.parametrize(
    ("stated", "field", "said"),
    [
        ({}, ".profiles", "free axes (2, 3)"),
        (shapes([1, 3, 9, 9], [1, 3, 8, 8], [1, 3, 9, 9]), ".profiles[0].shapes[0].opt", "goes 9, 8, 9"),
        (shapes([1, 3, 9], [1, 3, 9], [1, 3, 9]), ".profiles[0].shapes[0].min", "[-1, 3, -1, -1]"),
        (shapes([1, 4, 9, 9], [1, 4, 9, 9], [1, 4, 9, 9]), ".profiles[0].shapes[0].min", "[-1, 3, -1, -1]"),
        (shapes([1, 3], [1, 3], [1, 3], "z"), ".profiles[0].shapes[0].name", "it has x"),
        ({**GOOD, "batch": 8}, ".profiles", "the largest is 4"),
        ({**GOOD, "io": [{"name": "z", "dataType": "fp16"}]}, ".io[0].name", "it has x, y"),
        (
            {"verification": {"samples": [{"inputs": [{"name": "X", "source": NPY}]}]}},
            ".verification.samples[0].inputs[0].name",
            "it has x",
        ),
        (
            {
                "verification": {
                    "samples": [
                        {"inputs": [{"name": "x", "source": NPY}], "outputs": [{"name": "x", "source": NPY}]}
                    ]
                }
            },
            ".verification.samples[0].outputs[0].name",
            "it has y",
        ),
    ],
)
def test_what_cannot_fit_is_named(stated: dict[str, Any], field: str, said: str) -> None:
    fault = refused(IMAGE, **stated)
    assert (fault.code, fault.field) == (Reason.INVALID_SPEC, f"{FIELD}{field}")
    assert said in fault.message


def test_a_model_that_cannot_batch() -> None:
    fault = refused(X, batchable=False, batch=4)
    assert (fault.code, fault.field) == (Reason.INVALID_MODEL, "spec.models[0].maxBatchSize")


def test_a_tensor_that_goes_in_and_out_under_one_name() -> None:
    fault = refused(X, Y)
    assert (fault.code, fault.field) == (Reason.INVALID_MODEL, f"{FIELD}.source")
    assert "input 'y' is an output as well" in fault.message
