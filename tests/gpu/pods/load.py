"""Runs in the client pod: how many images a second a model answers.

`load.py ADDRESS MODEL IMAGES SECONDS BATCH…` prints a line of JSON for each batch size.

All images are asked about in turn, a request carrying BATCH of them, padded to the longest. Requests are
encoded before the clock starts and answers are not decoded: the server is measured, not the client. PROCESSES
times THREADS requests are under way at any time.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from tritonclient.grpc import service_pb2 as messages

PROCESSES, THREADS = 4, 2
WARM_UP_SECONDS = 0.7
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_LARGEST = ("grpc.max_send_message_length", "grpc.max_receive_message_length")


def requests(model: str, folder: Path, batch: int) -> list[bytes]:
    """The images as encoded requests."""
    images = [np.fromfile(path, np.uint8) for path in sorted(folder.glob("*.jpg"))]
    return [encoded(model, images[start : start + batch]) for start in range(0, len(images), batch)]


def encoded(model: str, images: list[Any]) -> bytes:
    rows = np.zeros((len(images), max(image.size for image in images)), np.uint8)
    for row, image in zip(rows, images, strict=True):
        row[: image.size] = image
    request = messages.ModelInferRequest(model_name=model, raw_input_contents=[rows.tobytes()])
    request.inputs.add(name="encoded", datatype="UINT8", shape=rows.shape)
    request.outputs.add(name="probabilities")
    return bytes(request.SerializeToString())


def ask(address: str, share: list[bytes], seconds: float, start: Any, results: Any) -> None:
    """One process: its threads ask until the time is over; what they were answered is counted."""
    counts = [0] * THREADS
    failures: list[str] = []
    channel = grpc.insecure_channel(
        address, options=[*((name, -1) for name in _LARGEST), ("grpc.use_local_subchannel_pool", 1)]
    )
    call = channel.unary_unary(_METHOD)
    call(share[0], timeout=60)
    start.wait(60)
    began = time.monotonic() + WARM_UP_SECONDS
    end = began + seconds

    def run(thread: int) -> None:
        position = thread
        try:
            while time.monotonic() < end:
                call(share[position % len(share)], timeout=60)
                position += THREADS
                now = time.monotonic()
                counts[thread] += began <= now < end
        except grpc.RpcError as error:
            failures.append(f"{error.code()}: {error.details()}"[:300])

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.send((sum(counts), failures))


def load(address: str, model: str, folder: Path, batch: int, seconds: float) -> dict[str, object]:
    everything = requests(model, folder, batch)
    context = get_context("spawn")
    start = context.Barrier(PROCESSES)
    pipes, processes = [], []
    for number in range(PROCESSES):
        share = everything[number::PROCESSES] or everything
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=ask, args=(address, share, seconds, start, there), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(10)
    failures = [failure for _, failed in found for failure in failed]
    total = sum(count for count, _ in found)
    return {"batch": batch, "per_second": round(total * batch / seconds, 1), "failures": failures[:3]}


def main() -> None:
    address, model, folder, seconds, *batches = sys.argv[1:]
    for batch in map(int, batches):
        found = load(address, model, Path(folder), batch, float(seconds))
        print("figure", json.dumps({"model": model, **found}), flush=True)


if __name__ == "__main__":
    main()
