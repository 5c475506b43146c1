"""Calls the other models as the image demands: unsure of the first answer, it asks again, mirrored.

No ensemble can say this, as its wiring does not depend on values.
"""

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from averaging import mirrored, together, unsure
from numpy.typing import NDArray


def call(model: str, input_name: str, value: NDArray[Any], output_name: str) -> Any:
    """One output of another model of this repository; its error becomes this request's error."""
    request = pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=[output_name],
        inputs=[pb_utils.Tensor(input_name, value)],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    response = request.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(f"{model}: {response.error().message()}")
    return pb_utils.get_output_tensor_by_name(response, output_name).as_numpy()


class TritonPythonModel:
    def initialize(self, _args: dict[str, str]) -> None:
        self.labels = Path(__file__).with_name("labels.txt").read_text().splitlines()

    def execute(self, requests: list[object]) -> list[object]:
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        encoded = pb_utils.get_input_tensor_by_name(request, "encoded").as_numpy()
        try:
            image = call("preprocess", "encoded", encoded[np.newaxis], "DALI_OUTPUT_0")
            probabilities = call("classifier", "image", image, "probabilities")
            looks = 1
            if unsure(probabilities):
                again = call("classifier", "image", mirrored(image), "probabilities")
                probabilities = together(probabilities, again)
                looks = 2
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
        best = int(probabilities[0].argmax())
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("class", np.array([self.labels[best].encode()], dtype=np.object_)),
                pb_utils.Tensor("probability", probabilities[0, best : best + 1].astype(np.float32)),
                pb_utils.Tensor("looks", np.array([looks], dtype=np.int32)),
            ]
        )
