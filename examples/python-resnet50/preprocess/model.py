"""Encoded photographs → the network's input, with Pillow."""

import io

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

SIZE = 224


def load(encoded: bytes) -> np.ndarray:
    """RGB [3, SIZE, SIZE] in [-1, 1], as the network of this example wants it."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return ((np.asarray(image, np.float32) - 127.0) / 128.0).transpose(2, 0, 1)


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        responses = []
        for request in requests:
            encoded = pb_utils.get_input_tensor_by_name(request, "INPUT_0").as_numpy()
            images = np.stack([load(one.tobytes()) for one in encoded])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT_0", images)]))
        return responses
