"""TensorRT engines: an ONNX file becomes model.plan for the GPU it is built on."""
