"""Scores → the best class by name."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, _args: dict[str, str]) -> None:
        self.labels = Path(__file__).with_name("labels.txt").read_text().splitlines()

    def execute(self, requests: list[object]) -> list[object]:
        responses = []
        for request in requests:
            scores = pb_utils.get_input_tensor_by_name(request, "INPUT_0").as_numpy()
            names = np.array([[self.labels[best].encode()] for best in scores.argmax(axis=1)], np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT_0", names)]))
        return responses
