"""As in the training: two pipelines in one file, with arguments; the ensemble names the one it serves."""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode


def _normalised(images: DataNode, image_crop: int, output_layout: str) -> DataNode:
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout=output_layout,
        crop=(image_crop, image_crop),
        mean=[127.0],
        std=[128.0],
    )


@pipeline_def
def validation_pipe(
    data_dir: str, interpolation: types.DALIInterpType, image_size: int, image_crop: int, output_layout: str
) -> tuple[DataNode, DataNode]:
    jpegs, label = fn.readers.file(name="Reader", file_root=data_dir, pad_last_batch=True)
    images = fn.decoders.image(jpegs, device="mixed", output_type=types.RGB)
    images = fn.resize(images, resize_shorter=image_size, interp_type=interpolation, antialias=False)
    return _normalised(images, image_crop, output_layout), label


@pipeline_def
def inference_pipe(
    interpolation: types.DALIInterpType,
    image_size: int,
    image_crop: int,
    output_layout: str,
    device: str = "mixed",
) -> DataNode:
    encoded = fn.external_source(name="DALI_INPUT", dtype=types.UINT8, ndim=1)
    images = fn.decoders.image(encoded, device=device, output_type=types.RGB)
    images = fn.resize(images, resize_shorter=image_size, interp_type=interpolation, antialias=False)
    return _normalised(images, image_crop, output_layout)
