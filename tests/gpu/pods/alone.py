"""Runs beside a tritonserver on its GPU: DALI and TensorRT without it, on the very files that it serves.

`alone.py A|B|C1|C2 MODELS IMAGES SECONDS BATCH…` prints a line of JSON for each batch size.

A: DALI's own Python interface, prefetch 1, output on the GPU. B: the engine, its input in place. C1: A to
B in one process, a thread and a stream for each. C2: the same in two processes, which share the GPU's memory.
MODELS: a model repository with preprocess/1/model.dali and classifier/1/model.plan. IMAGES: folder of JPEGs.
"""

from __future__ import annotations

import ctypes
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, "/opt/tritonserver")

from backends.device.cuda import Device

DALI, PLAN = "preprocess/1/model.dali", "classifier/1/model.plan"
THREADS = 8
"""Of DALI; the ensemble that is compared states as many."""
SLOTS = 2
"""Buffers between the two halves."""
WARM_UPS = 3


class Images:
    """Batches over and over, each padded with zeros to its longest image, as a request carries them."""

    def __init__(self, folder: Path, batch: int) -> None:
        found = [np.fromfile(path, np.uint8) for path in sorted(folder.glob("*.jpg"))]
        self._batches = [padded(found[start : start + batch]) for start in range(0, len(found), batch)]

    def __iter__(self) -> Iterator[list[Any]]:
        while True:
            for rows in self._batches:
                yield list(rows)


def padded(images: list[Any]) -> Any:
    rows = np.zeros((len(images), max(image.size for image in images)), np.uint8)
    for row, image in zip(rows, images, strict=True):
        row[: image.size] = image
    return rows


class Decoder:
    """DALI, and a stream to copy on."""

    def __init__(self, models: Path, images: Path, batch: int, device: Device) -> None:
        from nvidia.dali.pipeline import Pipeline  # noqa: PLC0415 - takes seconds, and B needs none

        self._device = device
        self._pipeline = Pipeline.deserialize(
            filename=str(models / DALI),
            batch_size=batch,
            num_threads=THREADS,
            device_id=0,
            prefetch_queue_depth=1,
        )
        self._batches = iter(Images(images, batch))

    def run(self) -> Any:
        """One batch as a list of tensors on the GPU; they are there when this returns."""
        return self._pipeline.run(encoded=next(self._batches))[0]

    def run_into(self, target: int) -> None:
        stream = ctypes.c_void_p(self._device.stream)
        self.run().copy_to_external(ctypes.c_void_p(target), stream, non_blocking=True)
        self._device.wait()  # DALI may use its memory again


class Engine:
    """TensorRT's execution context, at one batch size, with a stream of its own."""

    def __init__(self, models: Path, batch: int, device: Device) -> None:
        import tensorrt  # noqa: PLC0415 - takes seconds, and A needs none

        logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self._runtime = tensorrt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine((models / PLAN).read_bytes())
        self._context = self._engine.create_execution_context()
        self._device = device
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._input = next(
            name for name in names if self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
        )
        shape = (batch, *tuple(self._engine.get_tensor_shape(self._input))[1:])
        if not self._context.set_input_shape(self._input, shape):
            raise SystemExit(f"the engine does not take {shape}")
        self.input_bytes = int(np.prod(shape, dtype=np.int64)) * 4
        self._held = []
        for name in names:
            size = int(np.prod(tuple(self._context.get_tensor_shape(name)), dtype=np.int64)) * 4
            buffer = device.take(max(size, 1))
            self._held.append(buffer)
            self._context.set_tensor_address(name, buffer.pointer)

    def run(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise SystemExit("TensorRT could not run the engine")

    def run_on(self, source: int) -> None:
        self._context.set_tensor_address(self._input, source)
        self.run()
        self._device.wait()


def measured(work: Callable[[], object], *, seconds: float, wait: Callable[[], object]) -> tuple[int, float]:
    """How often `work` was done, and in how many seconds, the GPU's included."""
    for _ in range(WARM_UPS):
        work()
    wait()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        times += 1
    wait()
    return times, time.perf_counter() - began


def decoding(models: Path, images: Path, batch: int, seconds: float) -> tuple[int, float]:
    device = Device(0)
    return measured(Decoder(models, images, batch, device).run, seconds=seconds, wait=device.wait)


def computing(models: Path, _: Path, batch: int, seconds: float) -> tuple[int, float]:
    device = Device(0)
    engine = Engine(models, batch, device)
    ahead = 0

    def run() -> None:
        nonlocal ahead
        engine.run()
        ahead += 1
        if ahead % 8 == 0:  # what is queued must end soon after the time is over
            device.wait()

    return measured(run, seconds=seconds, wait=device.wait)


def in_one_process(models: Path, images: Path, batch: int, seconds: float) -> tuple[int, float]:
    """Two threads; `free` and `full` hand the buffers to and fro."""
    device = Device(0)
    engine = Engine(models, batch, device)
    buffers = [device.take(engine.input_bytes) for _ in range(SLOTS)]
    free: queue.Queue[int] = queue.Queue()
    full: queue.Queue[int] = queue.Queue()
    for slot in range(SLOTS):
        free.put(slot)
    over = threading.Event()

    def decode() -> None:
        own = Device(0)
        decoder = Decoder(models, images, batch, own)
        while not over.is_set():
            slot = free.get()
            decoder.run_into(buffers[slot].pointer)
            full.put(slot)

    thread = threading.Thread(target=decode, daemon=True)
    thread.start()

    def work() -> None:
        slot = full.get(timeout=60)
        engine.run_on(buffers[slot].pointer)
        free.put(slot)

    found = measured(work, seconds=seconds, wait=device.wait)
    over.set()
    free.put(0)
    thread.join(30)
    return found


def in_two_processes(models: Path, images: Path, batch: int, seconds: float) -> tuple[int, float]:
    """The other process decodes into this one's buffers."""
    device = Device(0)
    engine = Engine(models, batch, device)
    buffers = [device.take(engine.input_bytes) for _ in range(SLOTS)]
    context = get_context("spawn")
    here, there = context.Pipe()
    handles = [_share(buffer.pointer) for buffer in buffers]
    child = context.Process(target=_decode_for, args=(there, models, images, batch, handles), daemon=True)
    child.start()
    there.close()

    def work() -> None:
        if not here.poll(60):
            raise SystemExit("the decoding process is silent")
        slot = here.recv()
        engine.run_on(buffers[slot].pointer)
        here.send(slot)

    found = measured(work, seconds=seconds, wait=device.wait)
    here.send(None)
    child.join(30)
    return found


def _decode_for(pipe: Any, models: Path, images: Path, batch: int, handles: list[bytes]) -> None:
    device = Device(0)
    targets = [_open(handle) for handle in handles]
    decoder = Decoder(models, images, batch, device)
    slot: int | None
    for slot in range(SLOTS):
        decoder.run_into(targets[slot])
        pipe.send(slot)
    while (slot := pipe.recv()) is not None:
        decoder.run_into(targets[slot])
        try:
            pipe.send(slot)
        except BrokenPipeError:
            return


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_char * 64),)


def _share(pointer: int) -> bytes:
    handle = _Handle()
    _call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(pointer))
    return bytes(handle)


def _open(handle: bytes) -> int:
    pointer = ctypes.c_uint64()
    lazily = ctypes.c_uint(1)
    _call("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), _Handle.from_buffer_copy(handle), lazily)
    return pointer.value


def _call(name: str, *arguments: object) -> None:
    code = getattr(ctypes.CDLL("libcuda.so.1"), name)(*arguments)
    if code:
        raise SystemExit(f"{name} failed ({code})")


WAYS = {"A": decoding, "B": computing, "C1": in_one_process, "C2": in_two_processes}


def main() -> None:
    way, models, images, seconds, *batches = sys.argv[1:]
    for batch in map(int, batches):
        times, took = WAYS[way](Path(models), Path(images), batch, float(seconds))
        per_second = round(times * batch / took, 1)
        print("figure", json.dumps({"way": way, "batch": batch, "per_second": per_second}), flush=True)


if __name__ == "__main__":
    main()
