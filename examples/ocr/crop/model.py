"""Pixels and the detector's map → boxes, and the lines of text in them."""

import triton_python_backend_utils as pb_utils
from lines import cut_out
from regions import text_boxes


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        pixels = pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy()[0]
        likelihood = pb_utils.get_input_tensor_by_name(request, "likelihood").as_numpy()[0, 0]
        boxes = text_boxes(likelihood, pixels.shape[0], pixels.shape[1])
        lines, views, widths = cut_out(pixels, boxes)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("boxes", boxes),
                pb_utils.Tensor("lines", lines),
                pb_utils.Tensor("views", views),
                pb_utils.Tensor("widths", widths),
            ]
        )
