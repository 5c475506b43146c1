"""Pixels → the text detector's input."""

import triton_python_backend_utils as pb_utils
from scaling import detector_input


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        responses = []
        for request in requests:
            pixels = pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy()
            tensor = pb_utils.Tensor("scaled", detector_input(pixels[0]))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
