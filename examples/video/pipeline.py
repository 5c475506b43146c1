"""Encoded video → sequences of small frames; one request gets as many answers as the video has sequences."""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode


@pipeline_def(output_dtype=types.UINT8, output_ndim=4)
def sequences(device: str = "mixed", frames: int = 8, height: int = 112, width: int = 112) -> DataNode:
    video = fn.experimental.inputs.video(
        name="video", sequence_length=frames, device=device, last_sequence_policy="partial"
    )
    return fn.resize(video, size=(height, width))
