"""One photograph, as encoded bytes, through the ensemble: over HTTP and over gRPC."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

INPUT = "encoded"
OUTPUT = "probabilities"
BEST = 5
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """Probabilities [classes] and the seconds until they came."""

    probabilities: NDArray[np.float32]
    seconds: float

    def best(self, labels: Sequence[str]) -> list[tuple[str, float]]:
        order = np.argsort(-self.probabilities)[:BEST]
        return [(labels[index], float(self.probabilities[index])) for index in order]


def over_http(address: str, model: str, photograph: Path) -> Answer:
    """Triton's HTTP protocol with its binary extension, by the standard library alone."""
    content = photograph.read_bytes()
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": INPUT,
                    "shape": [1, len(content)],
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": len(content)},
                }
            ],
            "outputs": [{"name": OUTPUT, "parameters": {"binary_data": True}}],
        }
    ).encode()
    request = urllib.request.Request(
        f"http://{address}/v2/models/{model}/infer",
        data=header + content,
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        },
    )
    started = time.monotonic()
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        body = response.read()
        length = int(response.headers["Inference-Header-Content-Length"])
    seconds = time.monotonic() - started
    return Answer(np.frombuffer(body[length:], np.float32), seconds)


def over_grpc(address: str, model: str, photograph: Path) -> Answer:
    content = np.fromfile(photograph, np.uint8)[np.newaxis]
    tensor = triton.InferInput(INPUT, list(content.shape), "UINT8")
    tensor.set_data_from_numpy(content)
    with triton.InferenceServerClient(address) as client:
        started = time.monotonic()
        result = client.infer(
            model,
            [tensor],
            outputs=[triton.InferRequestedOutput(OUTPUT)],
            client_timeout=TIMEOUT_SECONDS,
        )
        seconds = time.monotonic() - started
    return Answer(result.as_numpy(OUTPUT)[0], seconds)
