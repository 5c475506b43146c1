"""224 x 224 RGB pixels → the network's input."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            pixels = pb_utils.get_input_tensor_by_name(request, "PIXELS").as_numpy()
            image = ((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
            tensor = pb_utils.Tensor("IMAGE", np.ascontiguousarray(image))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
