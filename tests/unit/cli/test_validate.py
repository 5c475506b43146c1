"""`validate`: the fixtures that a real API server refuses (tests/crd), with the line each fault stands on."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from ensemble_cli.documents import DocumentError, Position, read_documents, write_yaml
from ensemble_cli.exits import Exit
from ensemble_cli.main import main

CRD_TESTS = Path(__file__).parents[2] / "crd"
REJECTED = sorted((CRD_TESTS / "reject").glob("*.yaml"))
ACCEPTED = sorted((CRD_TESTS / "accept").glob("*.yaml"))


def problems(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["validate", "-o", "json", *arguments]) == Exit.NO
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["problems"]
    return found


@pytest.mark.parametrize("file", REJECTED, ids=[file.stem for file in REJECTED])
def test_names_file_line_field_and_cure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = file.read_text(encoding="utf-8")
    expected = dict(re.findall(r"^# (field|message): (.*)$", text, re.MULTILINE))
    (problem,) = problems(capsys, str(file))
    assert problem["file"] == str(file)
    assert expected["message"] in str(problem["message"])
    line = text.splitlines()[int(str(problem["line"])) - 1]
    assert line.strip()
    assert not line.startswith("#")
    # The line names the field, or what is around it where the field is missing or an item of a list.
    parts = re.findall(r"[A-Za-z_]\w*", f"{problem['field']} {str(problem['message']).partition(':')[0]}")
    assert any(part in line for part in parts) or "- " in line or line.startswith("apiVersion"), line


@pytest.mark.parametrize("file", ACCEPTED, ids=[file.stem for file in ACCEPTED])
def test_accepts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(file)]) == Exit.DONE
    assert re.search(r":\d+: [a-z0-9-]+ is valid\n", capsys.readouterr().out)


WRONG = """\
# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: passed-over}
---
apiVersion: ensembles.dev/v1alpha1
kind: InferenceEnsemble
metadata:
  name: first
spec:
  storage: {uri: "s3://m/store", secretName: keys}
  models:
  - name: net
    onnxruntime:
      source: {uri: s3://m/n.onnx}
    maxBatchSize: "8"
  - name: y
    maxBatch: 4
    onnxruntime: {source: {uri: s3://m/n.onnx}}
  suspend: maybe
---
apiVersion: ensembles.dev/v1alpha1
kind: InferenceEnsemble
metadata: {name: second}
spec:
  storage: {uri: "s3://m/store", secretName: keys}
  entrypoint: nowhere
  models:
  - &model
    name: net
    onnxruntime: {source: {uri: s3://m/n.onnx}}
  - <<: *model
    labels:
    - output: a
      source: {uri: s3://m/folder/}
"""


def test_every_problem_of_several_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(WRONG)
    assert main(["validate", str(file)]) == Exit.NO
    shown = capsys.readouterr().out.replace(str(file), "F").splitlines()
    assert [line.split(" ")[:2] for line in shown] == [
        ["F:16:5:", "spec.models[0].maxBatchSize:"],
        ["F:17:5:", "spec.models[1].name:"],
        ["F:18:5:", "spec.models[1].maxBatch:"],
        ["F:20:3:", "spec.suspend:"],
        ["F:27:3:", "spec:"],
        ["F:28:3:", "spec.models:"],
        ["F:35:16:", "spec.models[1].labels[0]:"],
    ]


def test_a_list_and_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    item = yaml.safe_load(ACCEPTED[0].read_text())
    item["spec"]["suspend"] = "yes"
    text = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod", "apiVersion": "v1"}, item]}
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    (problem,) = problems(capsys)
    assert (problem["file"], problem["line"], problem["field"]) == ("standard input", 1, "spec.suspend")


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a: 1\nb: [1\n", Position(3, 1), "is no YAML"),
        ("a: 1\n\tb: 2\n", Position(2, 1), "is no YAML"),
        ("a: 1\nb: 2\na: 3\n", Position(3, 1), "'a' stands twice"),
        ("a: !secret x\n", Position(1, 4), "tag"),
        ("a: \x07\n", Position(1, 4), "is no text"),
        ("a: &a [*a]\n", Position(1, 4), "too deeply"),
        ("a: &a {<<: *a}\n", Position(1, 1), "holds itself"),
        ("[" * 300 + "]" * 300, Position(1, 102), "too deeply"),
        ("? [a]\n: b\n", Position(1, 3), "must be a string"),
        ("a: !!int nine\n", Position(1, 4), "no number"),
        ("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{x}: &{x} [*{y}, *{y}, *{y}, *{y}, *{y}, *{y}, *{y}, *{y}, *{y}, *{y}]\n"
            for x, y in zip("bcdefg", "abcdef", strict=True)
        ), None, "too large"),
    ],
    ids=["open", "tab", "twice", "tag", "bell", "circle", "circular merge", "deep", "key", "number", "bomb"],
)  # fmt: skip
def test_no_yaml(text: str, position: Position | None, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as caught:
        list(read_documents(text))
    assert position in {None, caught.value.position}


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("a: 1\n\tb: 2\n", "indent with spaces, not with tabs"),
        ("a: @b\n", "quote the value"),
        ("a: *b\n", "define the anchor"),
        ("a: b: c\n", "quote a value that holds ': '"),
        ("a: - b\n", "begin the list on a line of its own"),
        ("a: 'b\n", "close the quote"),
        ('a: "\\\\d\\d"\n', "write the backslash twice"),
        ("a: [b\nc: d\n", "close the bracket"),
        ("a:\n  b: 1\n c: 2\n", "indent the fields of one object"),
        ("a: 1\nb\n", "write KEY: VALUE"),
        ("a: 1\n...\nb: 2\n", "a line ---"),
        ("a: ** b\n", "quote a value that begins with"),
        ("{{ if .Values.x }}\na: 1\n", "helm template"),
        ("a: {{ .Values.x }}\n", "helm template"),
        ("a: x {{ .Values.x }}: b\n", "helm template"),
        ("a: .nan\n", "quote it"),
        ("a: 1e999\n", "quote it"),
        ("a: \0\n", "remove the character"),
    ],
)
def test_no_yaml_has_a_cure(text: str, cure: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(cure)):
        list(read_documents(text))


@pytest.mark.parametrize(
    ("metadata", "line", "fault"),
    [
        ("metadata:\n  name: 12", 4, "metadata.name: must be a string; quote it"),
        ("metadata:\n  name:", 4, "metadata.name: required; name the resource"),
        ("metadata: net", 3, "metadata: must be an object"),
        ("metadata:\n  generateName: net-", 3, "metadata.name: required"),
        ("metadata:\n  name: e\n  lables: {}", 5, "metadata.lables: unknown field; did you mean labels?"),
        ("metadata:\n  name: e\n  namespace: Prod_1", 5, "metadata.namespace: 'Prod_1' is no namespace: use"),
        ("metadata:\n  name: e\n  namespace: 1", 5, "metadata.namespace: must be a string; quote it"),
        ("metadata:\n  name: e\n  labels: [a]", 5, "metadata.labels: must be an object of strings"),
        ("metadata:\n  name: e\n  labels:\n    on: x\n    a: on", 7, "metadata.labels.a: must be a string"),
        ("metadata:\n  name: e\n  labels:\n    a: b c", 6, "metadata.labels.a: 'b c' is no label's value"),
        ("metadata:\n  name: e\n  labels:\n    a b: c", 6, "metadata.labels[a b]: 'a b' is no key: write"),
        ("metadata:\n  name: e\n  annotations:\n    A/b: c", 6, "metadata.annotations[A/b]: 'A/b' is no key"),
        ("metadata:\n  name: e\n  annotations:\n    a: 8", 6, "metadata.annotations.a: must be a string"),
        ("metadata:\n  name: e\n  annotations: {a: " + "b" * 300_000 + "}", 5, "metadata.annotations: has"),
        ("metadata:\n  name: e\n  finalizers: a", 5, "metadata.finalizers: must be a list"),
    ],
)  # fmt: skip
def test_metadata_as_the_api_server_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metadata: str, line: int, fault: str
) -> None:
    spec = ACCEPTED[0].read_text().partition("\nspec:")[2]
    kind = "apiVersion: ensembles.dev/v1alpha1\nkind: InferenceEnsemble\n"
    (tmp_path / "e.yaml").write_text(f"{kind}{metadata}\nspec:{spec}")
    (problem,) = problems(capsys, str(tmp_path / "e.yaml"))
    assert problem["line"] == line
    assert f"{problem['field']}: {problem['message']}".startswith(fault)


def test_metadata_that_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = yaml.safe_load(ACCEPTED[0].read_text())
    document["metadata"] |= {
        "namespace": "a-1",
        "creationTimestamp": None,
        "labels": {"app.kubernetes.io/name": "", "a_b.C-d": "1"},
        "annotations": {"argocd.argoproj.io/sync-wave": "-1", "note": "any text: at all\n"},
        "ownerReferences": [],
        "finalizers": ["a/b"],
    }
    (tmp_path / "e.yaml").write_text(write_yaml(document))
    assert main(["validate", str(tmp_path)]) == Exit.DONE
    assert capsys.readouterr().err == ""


def test_a_resource_twice_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = yaml.safe_load(ACCEPTED[0].read_text())
    other = document | {"metadata": document["metadata"] | {"namespace": "other"}}
    file = tmp_path / "e.yaml"
    file.write_text("---\n".join(map(write_yaml, (document, other, document))))
    (problem,) = problems(capsys, str(file))
    assert problem["field"] == "metadata.name"
    assert "stands twice in this file: rename or remove one" in str(problem["message"])


@pytest.mark.parametrize("kind", ["List", "InferenceEnsembleList"])
def test_every_kind_of_list(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    item = yaml.safe_load(ACCEPTED[0].read_text())
    item["spec"]["suspend"] = "yes"
    (tmp_path / "l.yaml").write_text(
        write_yaml({"apiVersion": "ensembles.dev/v1alpha1", "kind": kind, "metadata": {}, "items": [item]})
    )
    (problem,) = problems(capsys, str(tmp_path))
    assert problem["field"] == "spec.suspend"


def test_standard_input_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["validate"]) == main(["validate", "-"]) == Exit.USAGE
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("y", True), ("off", False), ("'y'", "y"), ("2026-05-01", "2026-05-01"), ("12:30", "12:30"),
        ("0o17", 15),
        ("017", 15), ("08", 8), ("1_000", 1000), ("0x1F", 31), ("1e3", 1000), ("8.0", 8), ("2.5", 2.5),
        ("~", None),
        ("", None), ("1.2.3", "1.2.3"), ("s3://m/a:b", "s3://m/a:b"), ("-7", -7), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_mean_to_kubectl(scalar: str, value: object) -> None:
    (document,) = read_documents(f"key: {scalar}\non: 1\n")
    assert document.data == {"key": value, "true": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere.yaml"], Exit.USAGE, "nowhere.yaml cannot be read: No such file or directory; check"),
        (["{folder}"], Exit.USAGE, "holds no .yaml or .json file"),
        (["{folder}/latin"], Exit.USAGE, "latin:2: is not UTF-8; save it as UTF-8"),
        (["{folder}/" + "long" * 100], Exit.USAGE, "cannot be read: File name too long; check"),
        (["/dev/zero"], Exit.USAGE, "/dev/zero has more than 16 MiB; name a file"),
        (["{folder}/other"], Exit.NO, "no InferenceEnsemble among 1 resources"),
        (["-o", "xml"], Exit.USAGE, "'xml' is not one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: Exit, message: str
) -> None:
    (tmp_path / "latin").write_bytes("a: 1\nb: ü".encode("latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "other").write_text("kind: Pod\napiVersion: v1\n")
    assert main(["validate", *(text.format(folder=tmp_path) for text in arguments)]) == status
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_no_kubernetes_resource_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 2\n---\n- a\n---\n# nothing\n")
    found = problems(capsys, str(tmp_path))
    assert [problem["line"] for problem in found] == [1, 3]


@pytest.mark.parametrize(
    "text", ["y", "N", "on", "2026-05-01", "12:30", "0o17", "08", "1e3", "~", "", "<<", "=", "a: b"]
)
def test_what_we_write_is_read_back_by_both(text: str) -> None:
    written = write_yaml({"key": [text], text: 1})
    (document,) = read_documents(written)
    assert document.data == yaml.safe_load(written) == {"key": [text], text: 1}
