"""Letters and boxes → legible texts with their boxes."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from spelling import LEGIBLE, alphabet, spell


class TritonPythonModel:
    def initialize(self, _args: dict[str, str]) -> None:
        characters = Path(__file__).with_name("characters.txt").read_text(encoding="utf-8")
        self.symbols = alphabet(characters.split("\n"))

    def execute(self, requests: list[object]) -> list[object]:
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        letters = pb_utils.get_input_tensor_by_name(request, "letters").as_numpy()
        boxes = pb_utils.get_input_tensor_by_name(request, "boxes").as_numpy()
        spelled = spell(letters, self.symbols)[: len(boxes)]
        legible = [index for index, (_, score) in enumerate(spelled) if score >= LEGIBLE]
        texts = np.array([spelled[index][0].encode() for index in legible], dtype=np.object_)
        scores = np.array([spelled[index][1] for index in legible], dtype=np.float32)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("text", texts),
                pb_utils.Tensor("score", scores),
                pb_utils.Tensor("box", np.ascontiguousarray(boxes[legible])),
            ]
        )
