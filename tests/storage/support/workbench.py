"""Requests and models for the commands' tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from ensemble_builder.cli import main
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Request, Result, TargetRequest
from ensembles_api.spec import Model, Repository
from tests.storage.support.s3server import SECRET_KEY

DEFAULT_TARGET = (TargetRequest(name="default"),)
assert SECRET_KEY


def onnx_model(name: str = "relu", *, external: str = "") -> bytes:
    """y = relu(x) or, with external data, y = x + w; FP32 [N, 3] each."""
    shape = ["N", 3]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    nodes, weights = [helper.make_node("Relu", ["x"], ["y"])], []
    if external:
        w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
        w.external_data.add(key="location", value=external)
        nodes, weights = [helper.make_node("Add", ["x", "w"], ["y"])], [w]
    graph = helper.make_graph(nodes, name, [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    assert onnx.load_model_from_string(data)
    return data


@dataclass
class Workbench:
    """One ensemble's way through the commands, each run through the command line."""

    store: Store
    folder: Path
    name: str = "vision"
    results: list[Result] = field(default_factory=list)

    @property
    def storage(self) -> list[str]:
        return ["--storage", self.store.location.model_dump_json(), "--patience", "3"]

    @property
    def ensemble(self) -> list[str]:
        return ["--ensemble", f"demo/{self.name}"]

    def put(self, path: str, data: bytes) -> str:
        """Upload a source; its URI."""
        key = self.store.key(f"sources/{path}")
        self.store.root.put(key, data)
        return self.store.root.access.uri(key)

    def config_map(self, name: str, **keys: str) -> None:
        folder = self.folder / "configmaps" / name
        folder.mkdir(parents=True, exist_ok=True)
        for key, text in keys.items():
            (folder / key).write_text(text)

    def request(self, *models: dict[str, Any], **fields: Any) -> Request:
        return Request(
            **{
                "namespace": "demo",
                "name": self.name,
                "models": tuple(Model.model_validate(model) for model in models),
                "targets": DEFAULT_TARGET,
                "server_image": "server:1",
                "builder_image": "builder:1",
                **fields,
            }
        )

    def run(self, *arguments: str) -> Result:
        """Run a command; its exit status must fit its result."""
        file = self.folder / f"result-{len(self.results)}"
        status = main([*arguments, "--result", str(file)])
        assert len(file.read_bytes()) <= 2000
        result = Result.model_validate_json(file.read_bytes())
        assert status == (1 if result.fault else 0)
        self.results.append(result)
        return result

    def assemble(self, request: Request, *more: str) -> Result:
        file = self.folder / "request.json"
        # As the operator writes it: with the names of the resource.
        file.write_text(json.dumps(request.model_dump(mode="json", by_alias=True)))
        folders = ["--request", str(file), "--configmaps", str(self.folder / "configmaps")]
        return self.run("assemble", *folders, *self.storage, *more)

    def published(self, result: Result, target: str = "default") -> dict[str, bytes]:
        """Fetch a result's revision: path -> bytes."""
        assert result.fault is None, result.fault
        assert result.revision, "nothing was published"
        to = self.folder / f"to-{result.revision}-{target}"
        what = ["--revision", result.revision, "--target", target, "--to", str(to)]
        assert self.run("fetch", "revision", *self.storage, *self.ensemble, *what).fault is None
        return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def repository(uri: str) -> Repository:
    return Repository(uri=uri)
