"""Lines and their directions → upright lines."""

import triton_python_backend_utils as pb_utils
from turning import upright


class TritonPythonModel:
    def execute(self, requests: list[object]) -> list[object]:
        responses = []
        for request in requests:
            lines, widths, directions = (
                pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in ("lines", "widths", "directions")
            )
            tensor = pb_utils.Tensor("upright", upright(lines, widths, directions))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses
