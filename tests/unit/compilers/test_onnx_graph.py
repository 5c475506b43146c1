"""What is read from ONNX files: graphs made here, and the ones that RapidOCR's wheel carries."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ensemble_builder.compilers.onnx_graph import OnnxFacts, inspect
from ensemble_builder.faults import FaultError
from ensembles_api.reasons import Reason

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))
from preparation.ocr import text_model

FIELD = "spec.models[0].onnxruntime.source"
Dims = Sequence[int | str | None]


def value(name: str, dims: Dims | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def graph(
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *,
    nodes: Sequence[onnx.NodeProto] | None = None,
    initializers: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    made = nodes or [
        helper.make_node("Identity", [source.name], [target.name])
        for source, target in zip(inputs, outputs, strict=False)
    ]
    content = helper.make_graph(made, "graph", inputs, outputs, initializer=initializers)
    return helper.make_model(content, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def facts(tmp_path: Path) -> Any:
    def read(model: onnx.ModelProto) -> OnnxFacts:
        file = tmp_path / "model.onnx"
        onnx.save(model, file)
        return inspect(file, field=FIELD)

    return read


def refused(file: Path) -> str:
    with pytest.raises(FaultError) as caught:
        inspect(file, field=FIELD)
    assert caught.value.fault.code is Reason.INVALID_MODEL
    assert caught.value.fault.field == FIELD
    return caught.value.fault.message


@pytest.mark.parametrize("first", ["batch", None, -1, "?"])
def test_a_free_first_axis_batches_however_it_is_written(facts: Any, first: int | str | None) -> None:
    io = facts(graph([value("x", [first, 3, "?"])], [value("y", [first, 3, "?"])])).io

    assert io.batchable
    assert [tensor.shape for tensor in (*io.inputs, *io.outputs)] == [(3, -1), (3, -1)]


def test_two_axes_called_question_mark_are_not_one_size(facts: Any) -> None:
    io = facts(graph([value("x", ["?", "?", "?"])], [value("y", ["?", "?", "?"])])).io

    assert io.inputs[0].shape == (-1, -1)


@pytest.mark.parametrize(
    ("given", "returned"),
    [([1, 3], [1, 3]), (["n", 3], [3, "n"]), (["n", 3], [1]), ([], []), (["n"], [])],
)
def test_one_fixed_first_axis_ends_batching_and_shapes_stay_whole(
    facts: Any, given: Dims, returned: Dims
) -> None:
    io = facts(graph([value("x", given)], [value("y", returned)])).io

    assert not io.batchable
    assert io.inputs[0].shape == tuple(-1 if isinstance(size, str) else size for size in given)
    assert io.outputs[0].shape == tuple(-1 if isinstance(size, str) else size for size in returned)


def test_every_tensor_counts_not_only_the_first(facts: Any) -> None:
    io = facts(
        graph(
            [value("x", ["n", 3]), value("state", [2, 1, 128])],
            [value("y", ["n", 3]), value("next", [2, 1, 128])],
        )
    ).io

    assert not io.batchable
    assert io.inputs[0].shape == (-1, 3)


def test_weights_are_not_inputs(facts: Any) -> None:
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    model = graph(
        [value("x", ["n", 3]), value("w", [3, 4])],
        [value("y", ["n", 4])],
        nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])],
        initializers=[weight],
    )

    found = facts(model)

    assert [tensor.name for tensor in found.io.inputs] == ["x"]
    assert found.io.batchable
    assert found.opsets == {"ai.onnx": 17}
    assert found.ir_version == 8
    assert found.external_data == {}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.STRING, "TYPE_STRING"),
        (TensorProto.BOOL, "TYPE_BOOL"),
        (TensorProto.FLOAT16, "TYPE_FP16"),
        (TensorProto.BFLOAT16, "TYPE_BF16"),
        (TensorProto.DOUBLE, "TYPE_FP64"),
        (TensorProto.INT64, "TYPE_INT64"),
        (TensorProto.UINT8, "TYPE_UINT8"),
    ],
)
def test_types_by_tritons_names(facts: Any, kind: int, name: str) -> None:
    io = facts(graph([value("x", ["n"], kind)], [value("y", ["n"], kind)])).io

    assert {io.inputs[0].data_type, io.outputs[0].data_type} == {name}


def test_an_output_without_shape_is_inferred(facts: Any) -> None:
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    model = graph(
        [value("x", ["n", 3])],
        [value("y", None)],
        nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])],
        initializers=[weight],
    )

    assert facts(model).io.outputs[0].shape == (4,)


def test_an_input_of_unknown_rank_is_refused(tmp_path: Path) -> None:
    onnx.save(graph([value("x", None)], [value("y", None)]), tmp_path / "m.onnx")

    message = refused(tmp_path / "m.onnx")
    assert "input 'x' has no shape" in message
    assert "export it with its axes stated" in message


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1])), "sequence"),
        (
            helper.make_map_type_proto(
                TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
            ),
            "map",
        ),
        (helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1])), "optional"),
    ],
)
def test_types_that_are_no_tensors_are_refused(tmp_path: Path, kind: onnx.TypeProto, word: str) -> None:
    model = graph([value("x", ["n"])], [value("y", ["n"])])
    model.graph.output[0].type.CopyFrom(kind)
    onnx.save(model, tmp_path / "m.onnx")

    message = refused(tmp_path / "m.onnx")
    assert f"output 'y' is of type {word}" in message
    assert "export plain tensors" in message


def test_a_type_triton_does_not_have_is_refused(tmp_path: Path) -> None:
    onnx.save(
        graph([value("x", ["n"], TensorProto.COMPLEX64)], [value("y", ["n"], TensorProto.COMPLEX64)]),
        tmp_path / "m.onnx",
    )

    assert "COMPLEX64" in refused(tmp_path / "m.onnx")


def external(location: str) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return graph(
        [value("x", ["n", 3])],
        [value("y", ["n", 4])],
        nodes=[helper.make_node("MatMul", ["x", "w"], ["y"])],
        initializers=[weight],
    )


def test_external_data_is_listed_and_need_not_be_there(facts: Any) -> None:
    assert facts(external("./weights/w.bin")).external_data == {"weights/w.bin": 48}


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ({"offset": "16"}, 64),
        ({"offset": "16", "length": "8"}, 24),
        ({"length": str(3 << 30), "checksum": "00"}, 3 << 30),
    ],
)
def test_external_data_says_how_much_of_the_file_is_read(facts: Any, entries: Any, size: int) -> None:
    model = external("w.bin")
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    assert facts(model).external_data == {"w.bin": size}


@pytest.mark.parametrize("entries", [{"offset": "-5"}, {"offset": "abc"}, {"length": "-1"}])
def test_external_data_at_no_place_in_the_file_is_refused(tmp_path: Path, entries: Any) -> None:
    model = external("w.bin")
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert f"location 'w.bin', {next(iter(entries))} " in refused(tmp_path / "m.onnx")


def test_external_data_without_a_file_is_refused(tmp_path: Path) -> None:
    model = external("w.bin")
    del model.graph.initializer[0].external_data[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert "outside of the model's folder" in refused(tmp_path / "m.onnx")


def test_external_data_of_inner_graphs_is_listed(facts: Any) -> None:
    tensor = external("inner.bin").graph.initializer[0]
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)], "branch", [], [value("c", [3, 4])]
    )
    model = graph(
        [value("x", [], TensorProto.BOOL)],
        [value("y", [3, 4])],
        nodes=[helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
    )

    assert facts(model).external_data == {"inner.bin": 48}


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../w.bin", "a/../../w.bin", "C:\\w.bin", "a\\w.bin", ""]
)
def test_external_data_outside_of_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "m.onnx").write_bytes(external(location).SerializeToString())

    message = refused(tmp_path / "m.onnx")
    assert repr(location) in message
    assert "outside of the model's folder" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>login</html>", "HTML page"),
        (b"\n<html><body>404", "HTML page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git-lfs pointer"),
        (gzip.compress(b"model", mtime=0), "gzip"),
        (b"PK\x03\x04rest", "torch.onnx.export"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"ptrt\x00\x00\x00", "TensorRT engine"),
        (b"\x1c\x00\x00\x00TFL3rest", "TensorFlow Lite"),
        (b"\x1c\x00\x00\x00ORTMrest", "ORT format"),
        (b'{"graph": {}}', "text"),
    ],
)
def test_what_is_no_onnx_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)

    assert words in refused(tmp_path / "m.onnx")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    whole = text_model("direction").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: int(len(whole) * kept)])

    assert "cut short" in refused(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["my_input", "my_node"])
def test_names_that_are_no_utf8_are_refused(tmp_path: Path, name: str) -> None:
    node = helper.make_node("Relu", ["my_input"], ["y"], "my_node")
    model = graph([value("my_input", ["n", 3])], [value("y", ["n", 3])], nodes=[node])
    damaged = model.SerializeToString().replace(name.encode(), b"\xff" + name.encode()[1:])
    (tmp_path / "m.onnx").write_bytes(damaged)

    assert "is no UTF-8" in refused(tmp_path / "m.onnx")


def test_another_protobuf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(helper.make_opsetid("ai.onnx", 17).SerializeToString())

    assert "is not an ONNX file" in refused(tmp_path / "m.onnx")


def test_real_models_with_question_marks_for_axes() -> None:
    detection = inspect(text_model("detection"), field=FIELD)
    direction = inspect(text_model("direction"), field=FIELD)
    recognition = inspect(text_model("recognition"), field=FIELD)

    assert [found.io.batchable for found in (detection, direction, recognition)] == [True, True, True]
    assert detection.io.inputs[0].shape == (3, -1, -1)
    assert detection.io.outputs[0].shape == (1, -1, -1)
    assert direction.io.outputs[0].shape == (2,)
    assert recognition.io.inputs[0].data_type == "TYPE_FP32"
