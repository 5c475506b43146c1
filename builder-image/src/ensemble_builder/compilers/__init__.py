"""Read models and turn sources into artifacts: ONNX inspection, DALI pipelines, TensorRT engines."""
