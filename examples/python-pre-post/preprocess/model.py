"""Decoded photographs of any size → the network's input."""

import numpy as np
import triton_python_backend_utils as pb_utils
from resampling import network_input


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        responses = []
        for request in requests:
            pixels = pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy()
            image = np.stack([network_input(one) for one in pixels])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("image", image)]))
        return responses
