"""Probabilities → the five best classes by name."""

from pathlib import Path

import triton_python_backend_utils as pb_utils
from ranking import best

COUNT = 5


class TritonPythonModel:
    def initialize(self, _args: dict[str, str]) -> None:
        self.labels = Path(__file__).with_name("labels.txt").read_text().splitlines()

    def execute(self, requests: list[object]) -> list[object]:
        responses = []
        for request in requests:
            probabilities = pb_utils.get_input_tensor_by_name(request, "probabilities").as_numpy()
            names, scores = best(probabilities, self.labels, COUNT)
            tensors = [pb_utils.Tensor("class", names), pb_utils.Tensor("probability", scores)]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
