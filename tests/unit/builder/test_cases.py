"""The user's cases, checked before any server starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.artifacts.cases import Surroundings, user_cases
from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.artifacts.labels import LabelLookup
from ensemble_builder.faults import FaultError
from ensembles_api.contract import LockedFile, LockedSource, Request, TargetRequest
from ensembles_api.reasons import Reason
from ensembles_api.sources import iter_sources
from ensembles_api.spec import Case, Verification
from ensembles_api.verification import VerificationCase

NET = """
name: "net" backend: "onnxruntime" max_batch_size: 4
input [
  { name: "x" data_type: TYPE_FP32 dims: [3] }, { name: "z" data_type: TYPE_STRING dims: [1] optional: true }
]
output [{ name: "y" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }]
"""
ALL = """
name: "all" platform: "ensemble" max_batch_size: 4
input [{ name: "IN" data_type: TYPE_FP32 dims: [3] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [3] }]
ensemble_scheduling { step [{ model_name: "net" model_version: -1
  input_map { key: "x" value: "IN" } output_map { key: "y" value: "OUT" } }] }
"""
LABELS = b"tea\nespresso\ncrane\ncrane\n"
CONFIGS = {name: text_format.Parse(text, ModelConfig()) for name, text in (("net", NET), ("all", ALL))}


def locked_file(data: bytes, path: str) -> LockedFile:
    return LockedFile(path=path, sha256=sha256(data), size=len(data))


def found(
    *cases: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
    configs: Mapping[str, ModelConfig] | None = None,
    partial: bool = False,
) -> tuple[tuple[VerificationCase, ...], dict[str, LockedFile | bytes]]:
    """Cases whose sources are inline texts, or files of the mapping by the name in their uri."""
    request = Request(
        namespace="n",
        name="e",
        models=(),
        verification=Verification(cases=[Case.model_validate(case) for case in cases]),
        targets=(TargetRequest(name="t"),),
        server_image="s",
        builder_image="b",
    )
    contents = {}
    locked = {}
    for field, source in iter_sources(request):
        name = (source.uri or "").rpartition("/")[2]
        data = (files or {})[name] if source.uri else (source.inline or "").encode()
        file = locked_file(data, name)
        contents[file.sha256] = data
        locked[field] = LockedSource(field=field, files=(file,))
    labels = locked_file(LABELS, "labels.txt")
    contents[labels.sha256] = LABELS
    known = CONFIGS if configs is None else configs

    def read(file: LockedFile) -> bytes:
        return contents[file.sha256]

    around = Surroundings(
        locked=locked,
        models=("net", "all"),
        configs=known,
        open_models=frozenset(),
        entrypoint="all",
        labels=LabelLookup(known, {"net": {"labels.txt": labels}, "all": {}}, read),
        read=read,
        partial=partial,
    )
    return user_cases(request, around)


def case(*expect: dict[str, Any], **fields: Any) -> dict[str, Any]:
    inputs = [{"name": "IN", "source": {"inline": "[1, 2, 3]"}}]
    return {"name": "one", "inputs": inputs, "expect": list(expect), **fields}


def test_a_case_names_the_entrypoint_and_gets_its_files_by_digest() -> None:
    golden = {"output": "OUT", "allClose": {"source": {"inline": "[[1, 2, 3]]"}, "rtol": 0.5}}
    (made,), files = found(case(golden))
    (given,) = made.inputs
    assert (made.model, made.name, given.shape, given.data_type) == ("all", "one", (1, 3), "TYPE_FP32")
    assert made.expect[0].value is not None
    assert made.expect[0].value.tensor.file == given.file, "the same bytes lie there once"
    assert list(files) == [f"verification/{given.file}"]


def test_bytes_that_need_no_change_stay_where_they_are() -> None:
    data = bytes(range(12))
    value = {"name": "IN", "source": {"uri": "s3://m/x.bin"}}
    _, files = found(case(inputs=[value]), files={"x.bin": data})
    assert files == {f"verification/samples/{sha256(data)}": locked_file(data, "x.bin")}


def test_labels_are_those_of_the_step_that_makes_the_output_and_may_name_two_classes() -> None:
    (made,), _ = found(
        case(
            {"output": "OUT", "topK": {"label": "espresso"}},
            {"output": "OUT", "topK": {"k": 2, "label": "crane"}},
            {"output": "OUT", "topK": {"index": 2}},
        )
    )
    classes = [expected.top_k for expected in made.expect]
    assert [each.indices for each in classes if each] == [(1,), (2, 3), (2,)]


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        (case(model="nett"), "model", "there is no model nett: choose net and all; did you mean net?"),
        (case(inputs=[{"name": "in", "source": {"inline": "[1]"}}]), "inputs", "also needs IN"),
        (
            case(
                inputs=[
                    {"name": "IN", "source": {"inline": "[1, 2, 3]"}},
                    {"name": "NO", "source": {"inline": "[1]"}},
                ]
            ),
            "inputs[1].name",
            "has no input NO: it has IN",
        ),
        (
            case(inputs=[{"name": "IN", "source": {"inline": "[1, 2]"}}]),
            "inputs[0].source",
            "no value for IN of model all: its shape is [2]",
        ),
        (
            case(inputs=[{"name": "IN", "source": {"inline": str([[1, 2, 3]] * 5)}}]),
            "inputs",
            "a batch of 5: model all takes 1 to 4",
        ),
        (case({"output": "out", "range": {"min": 0}}), "expect[0].output", "has no output out: it has OUT"),
        (
            case({"output": "OUT", "topK": {"label": "expresso"}}),
            "expect[0].topK.label",
            "no line of the 4 labels of OUT is 'expresso'; did you mean espresso?",
        ),
        (
            case({"output": "OUT", "equals": {"source": {"inline": "[[1,2,3],[1,2,3]]"}}}),
            "expect[0].equals.source",
            "it has 2 rows, and the request 1",
        ),
    ],
)
def test_what_no_server_could_pass_is_refused_and_the_field_named(
    given: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(FaultError) as caught:
        found(given)
    fault = caught.value.fault
    assert (fault.code, fault.field) == (Reason.INVALID_SPEC, f"spec.verification.cases[0].{field}")
    assert said in fault.message


def test_before_a_model_is_built_only_its_name_can_be_checked() -> None:
    assert found(case({"output": "?", "range": {"min": 0}}), configs={}, partial=True) == ((), {})
    with pytest.raises(FaultError, match="there is no model other"):
        found(case(model="other"), configs={}, partial=True)
