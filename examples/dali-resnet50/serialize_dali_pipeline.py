"""The script that serialised the pipeline by hand; the operator calls `pipe` and never runs the rest.

By hand: python serialize_dali_pipeline.py --save model_repository/dali/1/model.dali
"""

import argparse
from collections.abc import Sequence

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@pipeline_def(batch_size=256, num_threads=4, device_id=0)
def pipe(
    device: str = "mixed", mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> DataNode:
    encoded = fn.external_source(device="cpu", name="DALI_INPUT_0")
    images = fn.decoders.image(encoded, device=device, output_type=types.RGB)
    images = fn.resize(images, resize_x=224, resize_y=224)
    return fn.crop_mirror_normalize(
        images, dtype=types.FLOAT, output_layout="CHW", crop=(224, 224), mean=list(mean), std=list(std)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", default="./model.dali")
    pipe().serialize(filename=parser.parse_args().save)
