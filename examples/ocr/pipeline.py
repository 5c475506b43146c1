"""Encoded image → pixels, in the channel order the text models were trained with."""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode


@pipeline_def(output_dtype=types.UINT8, output_ndim=3)
def decoding(device: str = "mixed") -> DataNode:
    encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
    return fn.decoders.image(encoded, device=device, output_type=types.BGR)
