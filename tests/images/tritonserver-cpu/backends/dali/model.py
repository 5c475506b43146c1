"""Stand-in for Triton's DALI backend where NVIDIA's image is not to be had; for tests only.

It runs the real DALI: an instance of kind GPU as the file says, one of kind CPU with every ``mixed`` and
``gpu`` operator replaced by its CPU counterpart. What is on the GPU stays there where the configuration has
the parameter FORCE_CPU_ONLY_INPUT_TENSORS=no. It follows
triton-inference-server/dali_backend in what a model repository can notice:

- model.dali (or default_model_filename), else a dali.py that is serialised at load;
- max_batch_size absent from config.pbtxt means batched, 0 means that the request's first axis is the batch;
- inputs by name, outputs by order, and a request must ask for all outputs of the pipeline;
- requests of one batch may differ in shape (ragged), fail together, and an unbatched decoupled model answers
  once per iteration until its video input is used up;
- ``parameters.num_threads`` and ``split_along_outer_axis``, ``--backend-config=dali,plugin_libs=a:b``.

Images decoded or resized on the CPU differ by a few units from those of a GPU. DALI's CPU decoders take no
H.264 or HEVC; VP8, VP9 and Motion JPEG work.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backends.dali import cpu_twin, ioconfig
from backends.dali.capi import Batch, DaliError, Pipeline, load_plugin
from backends.device import dlpack
from backends.device.cuda import CudaError, Device, DeviceArray, keeps_on_gpu

HERE = Path(__file__).resolve().parent
_FALLBACK = "dali.py"
_Values = np.ndarray[Any, Any] | DeviceArray


class TritonPythonModel:
    """One instance of a DALI model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Add what the pipeline declares and the configuration leaves out."""
        config = auto_complete_model_config.as_dict()
        version_folder = Path(pb_utils.get_model_dir())
        stated = ioconfig.stated_batch_size(version_folder.parent / "config.pbtxt")
        batched = stated != 0
        _load_plugins()
        pipeline = _build(version_folder, config, max_batch_size=stated)
        try:
            for entry in ioconfig.completed_inputs(config, pipeline.inputs, batched=batched):
                auto_complete_model_config.add_input(entry)
            # add_input takes no such key, the document behind it does.
            ioconfig.allow_ragged(auto_complete_model_config.as_dict())
            for entry in ioconfig.completed_outputs(config, pipeline.outputs, batched=batched):
                auto_complete_model_config.add_output(entry)
        finally:
            pipeline.close()
        if batched:
            if stated is None:
                auto_complete_model_config.set_max_batch_size(_serialized_batch_size(version_folder, config))
            auto_complete_model_config.set_dynamic_batching()
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        self._config = json.loads(args["model_config"])
        folder = Path(args["model_repository"])
        stated = ioconfig.stated_batch_size(folder / "config.pbtxt")
        self._batched = stated != 0
        self._decoupled = pb_utils.using_decoupled_model_transaction_policy(self._config)
        self._outputs = [entry["name"] for entry in self._config["output"]]
        self._split = set(_parameter(self._config, "split_along_outer_axis").split(":")) - {""}
        _load_plugins()
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = Device(int(args["model_instance_device_id"])) if on_gpu else None
        load = _load if on_gpu else _load_for_cpu
        serialized = load(folder / args["model_version"], self._config)
        threads = int(_parameter(self._config, "num_threads") or 0) or None
        self._rebuild: Callable[[], Pipeline] = lambda: Pipeline(
            serialized,
            max_batch_size=stated or None,
            threads=threads,
            device=self._device,
            keep_on_gpu=keeps_on_gpu(self._config),
        )
        self._pipeline = self._rebuild()
        ioconfig.validate(self._config, self._pipeline, batched=self._batched)
        self._ids = itertools.count(1)

    def finalize(self) -> None:
        self._pipeline.close()

    def execute(self, requests: list[Any]) -> list[Any] | None:
        if self._device:
            self._device.enter()
        if self._batched:
            responses = self._run_together(requests)
        elif self._decoupled:
            for request in requests:
                self._run_stream(request)
            return None
        else:
            responses = [self._run_alone(request) for request in requests]
        if not self._decoupled:
            return responses
        for request, response in zip(requests, responses, strict=True):
            _send_last(request, response)
        return None

    def _run_together(self, requests: list[Any]) -> list[Any]:
        """Run all requests as one batch: one failure fails them all."""
        try:
            self._check_outputs(requests)
            sizes = [self._samples(request) for request in requests]
            self._feed(requests)
            batches, _ = self._pipeline.run()
            parts = [_split(batch, sizes) for batch in batches]
            return [self._response([output[index] for output in parts]) for index in range(len(requests))]
        except (DaliError, CudaError, ioconfig.ConfigError, ValueError) as error:
            self._reset()
            return [_failure(error) for _ in requests]

    def _run_alone(self, request: Any) -> Any:
        try:
            responses = list(itertools.islice(self._iterations(request), 2))
        except (DaliError, CudaError, ioconfig.ConfigError, ValueError) as error:
            self._reset()
            return _failure(error)
        if len(responses) == 1:
            return responses[0]
        self._reset()
        text = "the pipeline has more than one answer to a request; set model_transaction_policy.decoupled"
        return _failure(ValueError(text))

    def _run_stream(self, request: Any) -> None:
        sender = request.get_response_sender()
        try:
            for response in self._iterations(request):
                sender.send(response)
        except (DaliError, CudaError, ioconfig.ConfigError, ValueError) as error:
            self._reset()
            sender.send(_failure(error))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _iterations(self, request: Any) -> Iterator[Any]:
        """Feed one request and run until an input is used up."""
        self._check_outputs([request])
        fed = self._feed([request])
        while True:
            batches, traces = self._pipeline.run()
            yield self._response(batches)
            names = [tensor.name for tensor in self._pipeline.inputs]
            if any(traces.get((name, "depleted"), "true") == "true" for name in names):
                return
            if any(traces.get((name, "next_output_data_id"), fed) != fed for name in names):
                return

    def _check_outputs(self, requests: Sequence[Any]) -> None:
        for request in requests:
            asked = len(set(request.requested_output_names()))
            if asked != len(self._outputs):
                raise ioconfig.ConfigError(
                    f"Number of outputs expected by the requests ({asked}) does not match the number of "
                    f"outputs from DALI pipeline ({len(self._outputs)})."
                )

    def _samples(self, request: Any) -> int:
        sizes = {tensor.as_numpy().shape[0] for tensor in request.inputs()}
        if len(sizes) != 1:
            raise ValueError("Each input in a request must have the same batch size.")
        return int(sizes.pop())

    def _feed(self, requests: Sequence[Any]) -> str:
        data_id = str(next(self._ids))
        samples: dict[str, list[np.ndarray[Any, Any]]] = {}
        for request in requests:
            self._samples(request)
            for tensor in request.inputs():
                samples.setdefault(tensor.name(), []).extend(tensor.as_numpy())
        for name, values in samples.items():
            self._pipeline.feed(name, [np.asarray(value) for value in values], data_id)
        return data_id

    def _response(self, batches: Sequence[Batch]) -> Any:
        tensors = [
            _tensor(name, _dense(batch, name, split=name in self._split))
            for name, batch in zip(self._outputs, batches, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _reset(self) -> None:
        """A pipeline that failed is of no further use."""
        self._pipeline.close()
        self._pipeline = self._rebuild()


def _split(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    parts = []
    sample = offset = 0
    for size in sizes:
        shapes = batch.shapes[sample : sample + size]
        length = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
        parts.append(Batch(_part(batch.values, offset, offset + length), shapes))
        sample, offset = sample + size, offset + length
    return parts


def _part(values: _Values, start: int, stop: int) -> _Values:
    return values.rows(start, stop) if isinstance(values, DeviceArray) else values[start:stop]


def _tensor(name: str, values: _Values) -> Any:
    if isinstance(values, DeviceArray):
        return pb_utils.Tensor.from_dlpack(name, dlpack.capsule(values))
    return pb_utils.Tensor(name, values)


def _dense(batch: Batch, name: str, *, split: bool) -> _Values:
    shapes = [shape[1:] for shape in batch.shapes for _ in range(shape[0])] if split else list(batch.shapes)
    if len(set(shapes)) > 1:
        raise ValueError(f"the samples of output {name} differ in shape: {sorted(set(shapes))}")
    return batch.values.reshape((len(shapes), *(shapes[0] if shapes else ())))


def _failure(error: Exception) -> Any:
    print(f"dali: {error}", file=sys.stderr, flush=True)
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"DALI error: {error}"))


def _send_last(request: Any, response: Any) -> None:
    sender = request.get_response_sender()
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _build(version_folder: Path, config: dict[str, Any], *, max_batch_size: int | None) -> Pipeline:
    serialized = _load_for_cpu(version_folder, config)
    return Pipeline(serialized, max_batch_size=max_batch_size or None, threads=1)


def _load_for_cpu(version_folder: Path, config: dict[str, Any]) -> bytes:
    return cpu_twin.to_cpu(_load(version_folder, config))


def _load(version_folder: Path, config: dict[str, Any]) -> bytes:
    """Return the pipeline: from the model file, serialised or not, or from dali.py."""
    default = version_folder / (config.get("default_model_filename") or "model.dali")
    fallback = version_folder / _FALLBACK
    if default.is_file() and default.suffix != ".py":
        return default.read_bytes()
    for module in (default, fallback):
        if module.is_file():
            return _autoserialize(module)
    raise DaliError(
        f"Failed to load model file. The program looked in the following locations: {default}, {fallback}."
    )


def _autoserialize(module: Path) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "model.dali"
        command = ["python3", "-W", "ignore", str(HERE / "autoserialize.py"), str(module), str(target)]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode:
            raise DaliError(f"{module} does not serialise:\n{result.stderr[-2000:]}")
        return target.read_bytes()


def _serialized_batch_size(version_folder: Path, config: dict[str, Any]) -> int:
    return cpu_twin.batch_size(_load(version_folder, config))


def _parameter(config: dict[str, Any], name: str) -> str:
    value: str = config.get("parameters", {}).get(name, {}).get("string_value", "")
    return value


def _load_plugins() -> None:
    """Load the libraries of ``--backend-config=dali,plugin_libs=…``, told to native backends only."""
    arguments = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    for argument in arguments:
        _, found, libraries = argument.partition("dali,plugin_libs=")
        for library in libraries.split(":") if found else ():
            load_plugin(library)
