"""How prepared files are made: pinned downloads, cached once, constants folded."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from preparation.cache import cached
from preparation.folding import fold_constants
from preparation.wheels import DownloadError, Wheel

NAME = "thing-1.0-py3-none-any.whl"


def _wheel() -> bytes:
    """A wheel with nothing in it."""
    files = {
        "METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"thing-1.0.dist-info/{name}", text)
    return content.getvalue()


CONTENT = _wheel()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "examples"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index of plain files, set as uv's; gives the folder of its project `thing`."""
    folder = tmp_path / "index"
    (folder / "thing").mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/")
        yield folder / "thing"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "PIP_INDEX_URL"])
def test_a_wheel_comes_from_the_index_that_is_set(
    variable: str, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["UV_DEFAULT_INDEX"]
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    monkeypatch.setenv(variable, address)
    (index / "index.html").write_text(f'<a href="../{NAME}">{NAME}</a>')
    wheel = Wheel("thing", NAME, hashlib.sha256(CONTENT).hexdigest())
    assert wheel.path() == cache / "wheels" / NAME
    assert wheel.path().read_bytes() == CONTENT
    assert [file.name for file in (cache / "wheels").iterdir()] == [NAME]


def test_other_bytes_than_pinned_are_refused(index: Path, cache: Path) -> None:
    (index / "index.html").write_text(f'<a href="../{NAME}">{NAME}</a>')
    with pytest.raises(DownloadError, match="Expected sha256 0000"):
        Wheel("thing", NAME, "0" * 64).path()
    assert list((cache / "wheels").iterdir()) == []


def test_an_index_without_the_wheel_says_what_to_set(index: Path, cache: Path) -> None:
    (index / "index.html").write_text("")
    with pytest.raises(DownloadError, match="set PIP_INDEX_URL"):
        Wheel("thing", NAME, "0" * 64).path()
    assert cache.exists()


def test_files_are_made_once_and_never_half(cache: Path) -> None:
    def fail(target: Path) -> None:
        target.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cached("thing/file", fail)
    assert list((cache / "thing").iterdir()) == []

    def make(target: Path) -> None:
        target.write_text("whole")

    assert cached("thing/file", make).read_text() == "whole"
    assert cached("thing/file", fail).read_text() == "whole"


def test_folding_keeps_what_the_graph_computes() -> None:
    shape = helper.make_node(
        "Constant", [], ["two"], value=helper.make_tensor("", TensorProto.INT64, [1], [2])
    )
    filled = helper.make_node(
        "ConstantOfShape", ["two"], ["ones"], value=helper.make_tensor("", TensorProto.FLOAT, [1], [1.0])
    )
    graph = helper.make_graph(
        [
            shape,
            filled,
            helper.make_node("Add", ["ones", "weight"], ["offset"]),
            helper.make_node("Add", ["x", "offset"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [2], [3.0, 4.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    folded = fold_constants(model)
    assert [node.op_type for node in folded.graph.node] == ["Add"]
    assert [tensor.name for tensor in folded.graph.initializer] == ["offset"]
    x = {"x": np.array([[1, 2], [5, 6]], np.float32)}
    before, after = (ReferenceEvaluator(each).run(None, x)[0] for each in (model, folded))
    assert (before == after).all()
    assert onnx.load_model_from_string(model.SerializeToString()) == model
