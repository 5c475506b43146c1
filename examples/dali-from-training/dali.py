"""The training's preprocessing, turned into that of inference: the server serialises it when it loads."""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.plugin.triton import autoserialize


@autoserialize
@pipeline_def(batch_size=64, num_threads=4, device_id=0)
def inference_pipe(
    interpolation: types.DALIInterpType = types.INTERP_CUBIC,
    image_size: int = 256,
    image_crop: int = 224,
    output_layout: str = "CHW",
) -> DataNode:
    encoded = fn.external_source(name="DALI_INPUT", dtype=types.UINT8, ndim=1)
    images = fn.decoders.image(encoded, device="mixed", output_type=types.RGB)
    images = fn.resize(images, resize_shorter=image_size, interp_type=interpolation, antialias=False)
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout=output_layout,
        crop=(image_crop, image_crop),
        mean=[127.0],  # of the network of this example; an ImageNet network of torchvision has
        std=[128.0],  # [0.485 * 255, 0.456 * 255, 0.406 * 255] and [0.229 * 255, 0.224 * 255, 0.225 * 255]
    )
