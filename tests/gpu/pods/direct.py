"""Runs in the builder's image: one engine by TensorRT's own API and nothing else, with the same settings.

`direct.py MODEL.onnx MAX_BATCH OPT_BATCH` prints JSON: seconds of the build alone, bytes of the engine.
"""

import json
import sys
import time

import tensorrt

path, most, best = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
logger = tensorrt.Logger(tensorrt.Logger.INFO)
tensorrt.init_libnvinfer_plugins(logger, "")
builder = tensorrt.Builder(logger)
network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
parser = tensorrt.OnnxParser(network, logger)
if not parser.parse_from_file(path):
    raise SystemExit(f"the parser refuses {path}: {parser.get_error(0).desc()}")
config = builder.create_builder_config()
config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
config.set_flag(tensorrt.BuilderFlag.FP16)
sources = (tensorrt.TacticSource.EDGE_MASK_CONVOLUTIONS, tensorrt.TacticSource.JIT_CONVOLUTIONS)
config.set_tactic_sources(sum(1 << int(source) for source in sources))
profile = builder.create_optimization_profile()
shape = tuple(network.get_input(0).shape)[1:]
profile.set_shape(network.get_input(0).name, (1, *shape), (best, *shape), (most, *shape))
config.add_optimization_profile(profile)
began = time.monotonic()
engine = builder.build_serialized_network(network, config)
seconds = time.monotonic() - began
if engine is None:
    raise SystemExit("TensorRT built no engine")
print(json.dumps({"seconds": seconds, "bytes": engine.nbytes}))
