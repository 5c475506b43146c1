"""A model that does nothing: each request is answered with the first rows of one array that never changes.

Stands in the place of a member, to see what the server, the ensemble and the client cost alone. On a GPU the
array lies there, as those of the stand-in backends do.
"""

import json
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, "/opt/tritonserver")

from backends.device import dlpack
from backends.device.cuda import Device, DeviceArray


class TritonPythonModel:
    """One input, one output of float32."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._input = config["input"][0]["name"]
        self._output = config["output"][0]["name"]
        shape = (config["max_batch_size"], *(int(length) for length in config["output"][0]["dims"]))
        self._zeros = np.zeros(shape, np.float32)
        self._device = Device(0) if args["model_instance_kind"] == "GPU" else None
        if self._device:
            buffer = self._device.take(self._zeros.nbytes)
            self._array = DeviceArray(buffer, 0, self._zeros.dtype, shape)
            self._device.upload(self._array.pointer, self._zeros)
            self._device.wait()

    def execute(self, requests: list[Any]) -> list[Any]:
        if self._device:
            self._device.enter()
        return [self._answer(self._rows(request)) for request in requests]

    def _rows(self, request: Any) -> int:
        tensor = pb_utils.get_input_tensor_by_name(request, self._input)
        shape = tensor.as_numpy().shape if tensor.is_cpu() else dlpack.borrow(tensor.to_dlpack).shape
        return int(shape[0])

    def _answer(self, rows: int) -> Any:
        if self._device:
            tensor = pb_utils.Tensor.from_dlpack(self._output, dlpack.capsule(self._array.rows(0, rows)))
        else:
            tensor = pb_utils.Tensor(self._output, self._zeros[:rows])
        return pb_utils.InferenceResponse(output_tensors=[tensor])
