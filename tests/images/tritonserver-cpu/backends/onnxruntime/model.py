"""Stand-in for Triton's ONNX Runtime backend on a machine without a GPU; for tests only.

It runs the real ONNX Runtime on the CPU and follows the backend in what a model repository can notice:
``default_model_filename``, inputs and outputs bound by name and held against the graph, requests of one
batch joined along the first axis, and what auto-complete concludes (batch 4 and dynamic batching where the
first axis of every tensor is dynamic and nothing is stated).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
_Feed = Mapping[str, np.ndarray[Any, Any]]

_DEFAULT_BATCH_SIZE = 4  # of the backend's auto-complete


class ConfigError(Exception):
    """The configuration contradicts the graph."""


class TritonPythonModel:
    """One instance of an ONNX model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Add what the graph says and the configuration leaves out."""
        config = auto_complete_model_config.as_dict()
        session = _session(Path(pb_utils.get_model_dir()), config)
        stated = bool(config.get("input")) or bool(config.get("output"))
        batchable = all(_is_batchable(node) for node in (*session.get_inputs(), *session.get_outputs()))
        size = config.get("max_batch_size", 0)
        if not size and not stated and batchable:
            size = _DEFAULT_BATCH_SIZE
            auto_complete_model_config.set_max_batch_size(size)
            auto_complete_model_config.set_dynamic_batching()
        names = {entry["name"] for entry in (*config.get("input", []), *config.get("output", []))}
        for node in session.get_inputs():
            if node.name not in names:
                auto_complete_model_config.add_input(_completed(node, batched=size > 0))
        for node in session.get_outputs():
            if node.name not in names:
                auto_complete_model_config.add_output(_completed(node, batched=size > 0))
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._session = _session(Path(args["model_repository"]) / args["model_version"], config)
        self._batched = config.get("max_batch_size", 0) > 0
        _validate("input", config["input"], self._session.get_inputs(), batched=self._batched, whole=True)
        _validate("output", config["output"], self._session.get_outputs(), batched=self._batched, whole=False)

    def execute(self, requests: list[Any]) -> list[Any]:
        feeds = [_feed(request) for request in requests]
        if self._batched and len(requests) > 1 and _joinable(feeds):
            return self._run_joined(requests, feeds)
        return [self._run(request, feed) for request, feed in zip(requests, feeds, strict=True)]

    def _run(self, request: Any, feed: _Feed) -> Any:
        names = list(dict.fromkeys(request.requested_output_names()))
        try:
            return _response(names, self._session.run(names, dict(feed)))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base
            return _failure(error)

    def _run_joined(self, requests: Sequence[Any], feeds: Sequence[_Feed]) -> list[Any]:
        names = [node.name for node in self._session.get_outputs()]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        sizes = [next(iter(feed.values())).shape[0] for feed in feeds]
        try:
            results = dict(zip(names, self._session.run(names, joined), strict=True))
        except Exception as error:  # noqa: BLE001
            return [_failure(error) for _ in requests]
        responses, start = [], 0
        for request, size in zip(requests, sizes, strict=True):
            asked = list(dict.fromkeys(request.requested_output_names()))
            responses.append(_response(asked, [results[name][start : start + size] for name in asked]))
            start += size
        return responses


def _session(version_folder: Path, config: Mapping[str, Any]) -> Any:
    path = version_folder / (config.get("default_model_filename") or "model.onnx")
    if path.is_dir():  # a folder holds the graph beside its external data
        path /= "model.onnx"
    if not path.is_file():
        raise ConfigError(f"unable to find model file {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _validate(kind: str, entries: Sequence[Any], nodes: Sequence[Any], *, batched: bool, whole: bool) -> None:
    known = {node.name: node for node in nodes}
    for entry in entries:
        node = known.get(entry["name"])
        if node is None:
            raise ConfigError(
                f"unexpected inference {kind} '{entry['name']}', allowed {kind}s are: {', '.join(known)}"
            )
        if _TYPES.get(node.type) != entry["data_type"]:
            raise ConfigError(
                f"{kind} '{node.name}': the model has {_TYPES.get(node.type, node.type)}, "
                f"the configuration {entry['data_type']}"
            )
        _validate_dims(kind, entry, node, batched=batched)
    missing = known.keys() - {entry["name"] for entry in entries}
    if whole and missing:
        raise ConfigError(f"the configuration lacks {kind} {', '.join(sorted(missing))}")


def _validate_dims(kind: str, entry: Mapping[str, Any], node: Any, *, batched: bool) -> None:
    dims = entry.get("reshape", {}).get("shape", entry["dims"]) if "reshape" in entry else entry["dims"]
    full = [-1, *map(int, dims)] if batched else list(map(int, dims))
    actual = [length if isinstance(length, int) else -1 for length in node.shape]
    same_length = len(full) == len(actual)
    if not same_length or any(a != b and -1 not in {a, b} for a, b in zip(full, actual, strict=True)):
        raise ConfigError(f"{kind} '{node.name}': the model has dims {actual}, the configuration {full}")


def _is_batchable(node: Any) -> bool:
    return bool(node.shape) and not isinstance(node.shape[0], int)


def _completed(node: Any, *, batched: bool) -> dict[str, Any]:
    dims = [length if isinstance(length, int) else -1 for length in node.shape]
    return {"name": node.name, "data_type": _TYPES[node.type], "dims": dims[1:] if batched else dims}


def _feed(request: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name(): _from_triton(tensor.as_numpy()) for tensor in request.inputs()}


def _joinable(feeds: Sequence[_Feed]) -> bool:
    shapes = [{name: value.shape[1:] for name, value in feed.items()} for feed in feeds]
    return all(shape == shapes[0] for shape in shapes)


def _response(names: Sequence[str], values: Sequence[np.ndarray[Any, Any]]) -> Any:
    tensors = [pb_utils.Tensor(name, _to_triton(value)) for name, value in zip(names, values, strict=True)]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _failure(error: Exception) -> Any:
    text = f"onnx runtime error: {error}"
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(text))


def _from_triton(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if value.dtype != np.object_:
        return value
    strings = [item.decode() if isinstance(item, bytes) else str(item) for item in value.reshape(-1)]
    return np.array(strings, dtype=np.object_).reshape(value.shape)


def _to_triton(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    value = np.asarray(value)
    if value.dtype != np.object_:
        return np.ascontiguousarray(value)
    return np.array([str(item).encode() for item in value.reshape(-1)], dtype=np.object_).reshape(value.shape)
