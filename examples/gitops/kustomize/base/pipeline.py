"""Encoded image → what EfficientNet-Lite0 was trained on: 224 x 224 RGB in [-1, 1], channels first.

`device` is where images are decoded: "mixed" on a GPU, "cpu" where there is none; the rest follows.
"""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode


@pipeline_def(output_dtype=types.FLOAT, output_ndim=3)
def preprocessing(device: str = "mixed", crop: int = 224, shorter_side: int = 256) -> DataNode:
    encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
    pixels = fn.decoders.image(encoded, device=device, output_type=types.RGB)
    pixels = fn.resize(pixels, resize_shorter=shorter_side, interp_type=types.INTERP_CUBIC)
    return fn.crop_mirror_normalize(
        pixels, crop=(crop, crop), mean=[127.0], std=[128.0], dtype=types.FLOAT, output_layout="CHW"
    )
