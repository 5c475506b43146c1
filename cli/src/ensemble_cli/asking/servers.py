"""Two ways to ask one server the same."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferRequestedOutput
from tritonclient.utils import (
    InferenceServerException,
    deserialize_bytes_tensor,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from ensemble_builder.commands.verify.inference import answer_of, grpc_input, widened
from ensemble_builder.commands.verify.inference import infer as infer_streaming
from ensemble_builder.commands.verify.requests import Input, Request
from ensemble_cli.asking.tensors import ModelView
from ensemble_cli.exits import CommandError, Exit

Answer = Mapping[str, tuple[str, NDArray[np.generic]]]
"""Output name -> (type on the wire, value); the value of BF16 is float32. Of outputs asked for
classes: BYTES of score:index[:label].
"""
TIMEOUT = 60.0
SILENT = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
"""gRPC's words for a server that is not there, or says nothing in time."""


class Server(Protocol):
    """A tritonserver; config and infer raise CommandError."""

    def config(self, model: str) -> Mapping[str, Any]:
        """A model's config in the server's JSON, names as in model_config.proto."""

    def infer(self, model: ModelView, inputs: Sequence[Input], classes: Mapping[str, int]) -> list[Answer]:
        """Ask once. `classes`: outputs of which only the best are wanted -> how many."""

    def close(self) -> None:
        """Close its connection."""


@dataclass
class HttpServer:
    """Triton's HTTP protocol with its binary extension. One connection: not for several threads."""

    host: str
    port: int

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)

    def config(self, model: str) -> Mapping[str, Any]:
        content = self._ask("GET", f"/v2/models/{quote(model, safe='')}/config")[1]
        try:
            config = json.loads(content)
        except ValueError:
            config = None
        if not isinstance(config, dict) or "name" not in config:
            raise self._no_triton()
        return config

    def infer(self, model: ModelView, inputs: Sequence[Input], classes: Mapping[str, int]) -> list[Answer]:
        if model.decoupled:
            raise CommandError(
                f"model {model.name!r} answers in streams, which HTTP has not", cure="use --grpc"
            )
        bodies = [binary_value(item) for item in inputs]
        header = json.dumps(_header(model, inputs, bodies, classes)).encode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        }
        path = f"/v2/models/{quote(model.name, safe='')}/infer"
        length, body = self._ask("POST", path, header + b"".join(bodies), headers)
        try:
            return [binary_answer(json.loads(body[:length]), body[length:])]
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_triton() from error

    def _no_triton(self) -> CommandError:
        return CommandError(
            f"{self.host}:{self.port} does not answer as tritonserver does",
            cure="give the HTTP port of one, 8000 unless it was told otherwise",
            status=Exit.ABSENT,
        )

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """(length of the JSON before binary tensors, the body)."""
        try:
            self._connection.request(method, path, body or None, dict(headers or {}))
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            said = " ".join(str(error).split()) or type(error).__name__
            raise CommandError(
                f"{self.host}:{self.port} does not answer: {said}",
                cure="check that the server is up",
                status=Exit.ABSENT,
            ) from error
        if response.status != http.HTTPStatus.OK:
            raise _refused(response.status, content)
        return int(response.headers.get("Inference-Header-Content-Length", len(content))), content


def _refused(status: int, content: bytes) -> CommandError:
    try:
        message = str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        message = content[:300].decode(errors="replace") or f"HTTP {status}"
    return _no(message)


def _no(message: str) -> CommandError:
    text = " ".join(message.split())
    if "unknown model" in text:
        return CommandError(f"the server says: {text}", cure="name another --model", status=Exit.ABSENT)
    return CommandError(f"the server says: {text}", cure="look into its log: kubectl ensemble logs NAME")


def binary_value(item: Input) -> bytes:
    """An input as it lies in the body of a request."""
    if item.data_type == "BYTES":
        return bytes(serialize_byte_tensor(item.value).item())
    return np.ascontiguousarray(item.value).tobytes()


def _header(
    model: ModelView, inputs: Sequence[Input], bodies: Sequence[bytes], classes: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": item.name,
                "shape": list(item.value.shape),
                "datatype": item.data_type,
                "parameters": {"binary_data_size": len(body)},
            }
            for item, body in zip(inputs, bodies, strict=True)
        ],
        "outputs": [
            {
                "name": output.name,
                "parameters": {
                    "binary_data": True,
                    **({"classification": classes[output.name]} if output.name in classes else {}),
                },
            }
            for output in model.outputs
        ],
    }


def binary_answer(header: Mapping[str, Any], body: bytes) -> Answer:
    """From the JSON of a response, and the tensors behind it."""
    answer: dict[str, tuple[str, NDArray[np.generic]]] = {}
    at = 0
    for output in header["outputs"]:
        size = int(output.get("parameters", {}).get("binary_data_size", 0))
        value = _value(output["datatype"], body[at : at + size]).reshape(output["shape"])
        answer[output["name"]] = (output["datatype"], value)
        at += size
    return answer


def _value(data_type: str, raw: bytes) -> NDArray[np.generic]:
    if data_type == "BYTES":
        value: NDArray[np.generic] = deserialize_bytes_tensor(raw)
        return value
    return widened(data_type, np.frombuffer(raw, triton_to_np_dtype(data_type)))


@dataclass
class GrpcServer:
    """The same over gRPC; decoupled models answer as often as they like."""

    host: str
    port: int

    def __post_init__(self) -> None:
        self._client = InferenceServerClient(f"{self.host}:{self.port}")

    def config(self, model: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._client.get_model_config(
                model, as_json=True, client_timeout=TIMEOUT
            )["config"]
        except InferenceServerException as error:
            raise self._failed(error) from error
        return found

    def infer(self, model: ModelView, inputs: Sequence[Input], classes: Mapping[str, int]) -> list[Answer]:
        try:
            if model.decoupled:
                config = self._client.get_model_config(model.name, client_timeout=TIMEOUT).config
                request = Request(tuple(inputs), 1 if model.batched else None, "")
                return list(infer_streaming(self._client, config, request, sequence=False, timeout=TIMEOUT))
            wanted = [
                InferRequestedOutput(output.name, class_count=classes.get(output.name, 0))
                for output in model.outputs
            ]
            result = self._client.infer(
                model.name, [grpc_input(item) for item in inputs], outputs=wanted, client_timeout=TIMEOUT
            )
            answer = answer_of(result)
        except InferenceServerException as error:
            raise self._failed(error) from error
        return [answer]

    def _failed(self, error: InferenceServerException) -> CommandError:
        if error.status() not in SILENT:
            return _no(str(error.message()))
        said = " ".join(str(error.message()).split())
        return CommandError(
            f"{self.host}:{self.port} does not answer: {said}",
            cure="check that the server is up, and that this is its gRPC port",
            status=Exit.ABSENT,
        )

    def close(self) -> None:
        self._client.close()
