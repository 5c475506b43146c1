"""Pipelines that cannot be compiled: the fault names the field, quotes the line and says the cure."""

from __future__ import annotations

import pytest

from ensemble_builder.cli import KILLED, main
from ensembles_api.reasons import Reason

from .conftest import HEADER, Build

FLOATS = """
@pipeline_def(batch_size=1)
def floats(n=1, kind=None):
    return fn.external_source(name="x", dtype=types.FLOAT, ndim=1) * n
"""


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("def f(): pass", "source", "decorate its function with @pipeline_def"),
        ("x = (", "source", "line 3 `x = (`: SyntaxError"),
        ("import no_such_module", "source", "line 3 `import no_such_module`: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)", "source", "line 4 `sys.exit(3)`: SystemExit: 3"),
        ("import os\nos._exit(7)", "source", "ended with status 7"),
        ("raise OSError('no file caf\\udce9')", "source", r"OSError: no file caf\udce9"),
        (
            FLOATS.replace("return ", ""),
            "source",
            "the function returns no outputs of operators: end it with",
        ),
        (FLOATS + FLOATS.replace("floats", "others"), "function", "floats, others: name one of them"),
        (FLOATS.replace('name="x", ', ""), "source", "the input has no name"),
        (FLOATS.replace("* n", "* m"), "source", "line 6 `return fn.external_source"),
        (FLOATS.replace("n=1", "batch_size=1"), "", "hides the pipeline's own setting"),
        (FLOATS.replace("ndim=1", "ndim=0"), "source", "use ndim=1"),
        (
            """
            @pipeline_def(batch_size=1)
            def reading():
                jpegs, labels = fn.readers.file(file_root="/data")
                return fn.decoders.image(jpegs), labels
            """,
            "source",
            'line 6 `jpegs, labels = fn.readers.file(file_root="/data")`: no input: replace the reader',
        ),
        (
            """
            @pipeline_def(batch_size=1, enable_conditionals=True)
            def conditional():
                x = fn.external_source(name="x", dtype=types.FLOAT, ndim=1)
                if fn.random.coin_flip():
                    x = fn.resize(x, resize_q=2)
                return x
            """,
            "source",
            'line 8 `x = fn.resize(x, resize_q=2)`: KeyError: \'Argument "resize_q" is not defined',
        ),
        (
            """
            @pipeline_def(batch_size=1)
            def python():
                x = fn.external_source(name="x", dtype=types.FLOAT, ndim=1)
                return fn.python_function(x, function=abs)
            """,
            "source",
            "nvidia.dali.fn.python_function cannot be served",
        ),
    ],
)
def test_files_at_fault(build: Build, text: str, field: str, words: str) -> None:
    fault = build(text).fault

    assert fault.code is Reason.INVALID_PIPELINE
    assert fault.field == f"spec.models[3].dali.{field}".rstrip(".")
    assert words in fault.message


def test_a_file_that_is_no_utf8(build: Build) -> None:
    latin = HEADER.encode() + b"# caf\xe9\n" + FLOATS.encode()
    fault = build("", files={"pipeline.py": latin}).fault

    assert (fault.code, fault.field) == (Reason.INVALID_PIPELINE, "spec.models[3].dali.source")
    assert "can't decode byte 0xe9" in fault.message
    assert "save it as UTF-8" in fault.message
    named = build("", files={"pipeline.py": b"# coding: latin-1\n" + latin})
    assert named.result.fault is None


@pytest.mark.parametrize(
    ("parameters", "field", "words"),
    [
        ({"function": "flaots"}, "function", "the file defines no pipeline 'flaots'; it has floats"),
        ({"function": "helper"}, "function", "helper is not decorated with @pipeline_def"),
        ({"args": {"m": 1}}, "args.m", "no argument 'm'"),
        ({"args": {"kind": "types.FLAOT"}}, "args.kind", "did you mean types.FLOAT?"),
        ({"mode": "Autoserialize"}, "", "add it, or use mode Serialized"),
    ],
)
def test_resources_at_fault(build: Build, parameters: dict[str, object], field: str, words: str) -> None:
    fault = build(FLOATS + "\ndef helper(): pass\n", **parameters).fault

    assert fault.field == f"spec.models[3].dali.{field}".rstrip(".")
    assert words in fault.message


def test_an_argument_without_default_must_be_given(build: Build) -> None:
    fault = build(FLOATS.replace("n=1", "n")).fault

    assert fault.field == "spec.models[3].dali.args.n"
    assert "state it here" in fault.message


def test_another_dali_than_the_servers_is_refused(build: Build) -> None:
    fault = build(FLOATS, dali_version="0.1.0").fault

    assert fault.code is Reason.RELEASE_MISMATCH
    assert "the server has 0.1.0" in fault.message


def test_a_process_that_is_killed_asks_for_memory(build: Build) -> None:
    built = build("import os\nos.kill(os.getpid(), 9)")

    assert built.fault.code is Reason.OUT_OF_MEMORY
    assert built.fault.field == "spec.build.resources"
    # A pod whose init container is marked OOMKilled but ended with 0 stays Pending for ever.
    assert main(["compile", "--work", str(built.work)]) == KILLED


def test_what_user_code_prints_and_leaves_running_does_not_matter(
    build: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    built = build(
        "import subprocess, sys\nprint('hello from the pipeline')\n"
        "sleeper = subprocess.Popen(['sleep', '600'])\nprint('pid', sleeper.pid)\n" + FLOATS
    )

    assert built.io.outputs
    assert "| hello from the pipeline\n" in capfd.readouterr().out


AUTOSERIALIZE = FLOATS.replace("@pipeline_def", "@autoserialize\n@pipeline_def")


def test_autoserialize_publishes_the_file_as_it_is(build: Build) -> None:
    built = build(AUTOSERIALIZE + FLOATS.replace("floats", "others"), mode="Autoserialize", max_batch_size=32)

    assert built.result.files == ("dali.py",)
    assert built.file == (built.work / "in" / "pipeline.py").read_bytes()
    assert built.io.max_batch_size == 32
    assert built.result.provenance["gpu_operators"] is False


def test_autoserialize_on_a_named_gpu_needs_one(build: Build) -> None:
    text = AUTOSERIALIZE.replace("batch_size=1", "batch_size=1, device_id=0")

    assert build(text, mode="Autoserialize").result.provenance["gpu_operators"] is True


@pytest.mark.parametrize(
    ("text", "parameters", "words"),
    [
        (AUTOSERIALIZE.replace("batch_size=1", ""), {}, "give @pipeline_def a batch_size"),
        (AUTOSERIALIZE, {"args": {"n": 2}}, "calls the function without arguments"),
        (AUTOSERIALIZE + AUTOSERIALIZE.replace("floats", "others"), {}, "leave @autoserialize on one"),
        (
            AUTOSERIALIZE + FLOATS.replace("floats", "others"),
            {"function": "others"},
            "not decorated with @autoserialize",
        ),
    ],
)
def test_autoserialize_faults(build: Build, text: str, parameters: dict[str, object], words: str) -> None:
    assert words in build(text, mode="Autoserialize", **parameters).fault.message
