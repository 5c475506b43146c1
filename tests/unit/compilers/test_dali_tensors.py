"""Pipelines compiled without a GPU, and the tensors read back from them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from nvidia.dali import Pipeline
from PIL import Image

from ensemble_builder.compilers.dali.serialized import cpu_twin, parse
from ensembles_api.contract import Tensor

from .conftest import Build, Built

IMAGE = """
@pipeline_def(batch_size=8, num_threads=2, device_id=0)
def preprocessing(size=224, interpolation=types.INTERP_LINEAR):
    encoded = fn.external_source(name="DALI_INPUT_0")
    images = fn.decoders.image(encoded, device="mixed", output_type=types.RGB)
    images = fn.resize(images, resize_x=size, resize_y=size, interp_type=interpolation)
    return fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", mean=[127.0], std=[128.0])
"""

FLOATS = """
@pipeline_def(batch_size=1)
def doubled():
    return fn.external_source(name="n", dtype=types.FLOAT, ndim=1) * 2
"""


def tensors(built: Built) -> tuple[Tensor, ...]:
    return (*built.io.inputs, *built.io.outputs)


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def test_a_pipeline_of_a_gpu_compiles_and_tells_its_tensors(build: Build) -> None:
    built = build(IMAGE, max_batch_size=64, args={"size": 192, "interpolation": "types.INTERP_CUBIC"})

    assert built.result.files == ("model.dali",)
    assert tensors(built) == (
        Tensor(name="DALI_INPUT_0", data_type="TYPE_UINT8", shape=(-1,)),
        Tensor(name="DALI_OUTPUT_0", data_type="TYPE_FP32", shape=(3, 192, 192)),
    )
    assert built.io.batchable
    assert built.io.max_batch_size == 64
    assert not built.io.decoupled
    assert built.result.provenance["gpu_operators"] is True
    assert built.result.provenance["operators"][1] == "decoders__Image mixed"
    assert parse(built.file).batch_size == 64


def test_published_samples_run_and_match_what_is_stated(build: Build) -> None:
    built = build(IMAGE, max_batch_size=4)
    pipeline = Pipeline.deserialize(cpu_twin(built.file), prefetch_queue_depth=1)

    assert len(built.result.samples) == 2
    for sample in built.result.samples:
        (tensor,) = sample.inputs
        raw = np.frombuffer((built.work / "out" / tensor.file).read_bytes(), np.uint8).reshape(tensor.shape)
        assert (tensor.name, tensor.data_type, raw.shape[0]) == ("DALI_INPUT_0", "TYPE_UINT8", 1)
        pipeline.feed_input("DALI_INPUT_0", [raw[0]])
        (output,) = pipeline.run()
        assert output.at(0).shape == (3, 224, 224)
        assert output.at(0).dtype == np.float32
        assert output.at(0).std() > 0.1


def test_the_same_file_gives_the_same_bytes_wherever_it_is_compiled(build: Build) -> None:
    text = (
        IMAGE.replace("@pipeline_def(", "@pipeline_def(enable_conditionals=True, ")
        + "\n    if fn.random.coin_flip():\n        images = images * 2\n    return images\n"
    ).replace("    return fn.crop", "    images = fn.crop")

    digests = {hashlib.sha256(build(text, max_batch_size=8).file).hexdigest() for _ in range(2)}

    assert len(digests) == 1


def test_axes_that_follow_the_request_are_free(build: Build) -> None:
    built = build(
        """
        @pipeline_def
        def several():
            images = fn.decoders.image(fn.external_source(name="encoded"), device="mixed")
            strip = fn.resize(images, resize_x=100, resize_y=80)
            return images, strip, fn.shapes(fn.resize(images, resize_shorter=64), dtype=types.INT32)
        """,
        max_batch_size=16,
    )

    assert [(tensor.name, tensor.data_type, tensor.shape) for tensor in built.io.outputs] == [
        ("DALI_OUTPUT_0", "TYPE_UINT8", (-1, -1, 3)),
        ("DALI_OUTPUT_1", "TYPE_UINT8", (80, 100, 3)),
        ("DALI_OUTPUT_2", "TYPE_INT32", (3,)),
    ]


def test_outputs_are_called_as_the_resource_says_else_as_their_operator(build: Build) -> None:
    text = """
        @pipeline_def(batch_size=1)
        def named():
            x = fn.external_source(name="x", dtype=types.FLOAT, ndim=1)
            return x * 2, fn.cast(x, dtype=types.INT32, name="whole"), x
        """

    plain, stated = build(text), build(text, outputs=[{"name": "double"}])

    assert [tensor.name for tensor in plain.io.outputs] == ["DALI_OUTPUT_0", "whole", "DALI_OUTPUT_2"]
    assert [tensor.name for tensor in stated.io.outputs] == ["double", "whole", "DALI_OUTPUT_2"]


def test_audio(build: Build) -> None:
    built = build(
        """
        @pipeline_def
        def spectra():
            sound, rate = fn.decoders.audio(fn.external_source(name="wav"), dtype=types.FLOAT, downmix=True)
            return fn.mel_filter_bank(fn.spectrogram(sound.gpu(), nfft=512), nfilter=80), rate
        """,
        max_batch_size=8,
    )

    assert tensors(built) == (
        Tensor(name="wav", data_type="TYPE_UINT8", shape=(-1,)),
        Tensor(name="DALI_OUTPUT_0", data_type="TYPE_FP32", shape=(80, -1)),
        Tensor(name="DALI_OUTPUT_1", data_type="TYPE_FP32", shape=()),
    )
    assert built.result.provenance["gpu_operators"] is True


def test_encoded_video_as_a_plain_input(build: Build) -> None:
    built = build(
        """
        @pipeline_def
        def frames():
            encoded = fn.external_source(name="video")
            return fn.resize(fn.experimental.decoders.video(encoded, device="mixed"), size=(112, 120))
        """,
        max_batch_size=2,
    )

    assert tensors(built) == (
        Tensor(name="video", data_type="TYPE_UINT8", shape=(-1,)),
        Tensor(name="DALI_OUTPUT_0", data_type="TYPE_UINT8", shape=(-1, 112, 120, 3)),
    )
    assert len(built.result.samples) == 2


@pytest.mark.parametrize(("policy", "frames"), [("pad", 5), ("partial", -1)])
def test_a_video_input_answers_in_several_responses(build: Build, policy: str, frames: int) -> None:
    built = build(
        f"""
        @pipeline_def
        def sequences():
            video = fn.experimental.inputs.video(
                name="INPUT", sequence_length=5, device="mixed", last_sequence_policy="{policy}"
            )
            return fn.resize(video, size=(112, 112))
        """
    )

    assert built.io.decoupled
    assert not built.io.batchable
    assert built.io.max_batch_size == 0
    assert parse(built.file).batch_size == 1
    assert tensors(built) == (
        Tensor(name="INPUT", data_type="TYPE_UINT8", shape=(1, -1)),
        Tensor(name="DALI_OUTPUT_0", data_type="TYPE_UINT8", shape=(-1, frames, 112, 112, 3)),
    )
    assert len(built.result.samples) == 2


def test_a_video_input_keeps_the_files_number_of_sequences_and_refuses_batching(build: Build) -> None:
    text = """
        @pipeline_def(batch_size=5)
        def sequences():
            return fn.experimental.inputs.video(name="INPUT", sequence_length=5)
        """

    built = build(text, max_batch_size=0)
    assert parse(built.file).batch_size == 5
    # The second sample ends with a response of unequal sequences, which Triton cannot pass on.
    assert len(built.result.samples) == 1

    fault = build(text, max_batch_size=8).fault
    assert fault.field == "spec.models[3].maxBatchSize"
    assert "set maxBatchSize to 0" in fault.message


def test_without_batching_shapes_begin_with_the_batch(build: Build) -> None:
    built = build(
        """
        @pipeline_def(batch_size=256)
        def doubled():
            return fn.external_source(name="x", dtype=types.FLOAT, ndim=1) * 2
        """,
        max_batch_size=0,
        outputs=[{"name": "y", "dims": ["-1", "-1"]}],
    )

    assert tensors(built) == (
        Tensor(name="x", data_type="TYPE_FP32", shape=(-1, -1)),
        Tensor(name="y", data_type="TYPE_FP32", shape=(-1, -1)),
    )
    assert not built.io.batchable
    assert parse(built.file).batch_size == 256


def test_the_layout_tells_the_number_of_axes(build: Build) -> None:
    built = build(
        """
        @pipeline_def(batch_size=4)
        def flipped():
            return fn.flip(fn.external_source(name="image", layout="HWC", dtype=types.UINT8))
        """
    )

    assert built.io.inputs[0].shape == (-1, -1, -1)
    assert built.io.max_batch_size == 4


def test_an_axis_the_pipeline_insists_on_is_fixed(build: Build) -> None:
    built = build(
        """
        @pipeline_def(batch_size=4)
        def grey():
            image = fn.external_source(name="image", ndim=3, dtype=types.UINT8)
            return fn.color_space_conversion(image, image_type=types.RGB, output_type=types.GRAY)
        """
    )

    assert built.io.outputs[0].shape == (-1, -1, 1)


def test_what_only_the_gpu_can_run_needs_declarations(build: Build) -> None:
    text = """
        @pipeline_def(batch_size=4{declared})
        def undistorted():
            image = fn.external_source(name="image", ndim=3, dtype=types.UINT8, device="gpu")
            x = fn.external_source(name="x", ndim=2, dtype=types.FLOAT, device="gpu")
            y = fn.external_source(name="y", ndim=2, dtype=types.FLOAT, device="gpu")
            return fn.experimental.remap(image, x, y)
        """

    fault = build(text.format(declared="")).fault
    assert fault.field == "spec.models[3].config.output[0]"
    assert "line 9 `return fn.experimental.remap(image, x, y)`" in fault.message
    assert "state it here, or give output_dtype to @pipeline_def" in fault.message

    declared = build(text.format(declared=", output_dtype=types.UINT8, output_ndim=3"))
    assert declared.io.outputs[0].shape == (-1, -1, -1)

    stated = build(text.format(declared=""), outputs=[{"data_type": "TYPE_UINT8", "dims": [480, 640, 3]}])
    assert stated.io.outputs[0] == Tensor(name="DALI_OUTPUT_0", data_type="TYPE_UINT8", shape=(480, 640, 3))
    assert stated.result.samples == ()


@pytest.mark.parametrize(
    ("stated", "field", "words"),
    [
        ({"outputs": [{"data_type": "TYPE_FP16"}]}, "output[0].data_type", "write TYPE_FP32"),
        ({"outputs": [{"dims": [224, 224, 3]}]}, "output[0].dims", "returns [3, 224, 224]"),
        ({"outputs": [{"name": "a"}, {"name": "b"}]}, "output", "remove the others"),
        ({"inputs": [{"name": "n", "data_type": "TYPE_INT32"}]}, "input[0].data_type", "write TYPE_FP32"),
    ],
)
def test_what_is_stated_may_not_contradict(
    build: Build, stated: dict[str, object], field: str, words: str
) -> None:
    text = IMAGE if "outputs" in stated else FLOATS
    fault = build(text, **stated).fault

    assert fault.code.value == "InvalidConfig"
    assert fault.field == f"spec.models[3].config.{field}"
    assert words in fault.message


def test_the_users_samples_are_the_ones_published(build: Build) -> None:
    files = {"a.jpg": jpeg(320, 240), "b.jpg": jpeg(200, 300)}
    samples = [{"inputs": [{"name": "DALI_INPUT_0", "file": name}]} for name in files]

    built = build(IMAGE, files=files, samples=samples)

    published = [(built.work / "out" / sample.inputs[0].file).read_bytes() for sample in built.result.samples]
    assert published == list(files.values())
    assert built.io.outputs[0].shape == (3, 224, 224)


def test_a_single_sample_does_not_fix_the_axes(build: Build) -> None:
    built = build(
        """
        @pipeline_def(batch_size=1)
        def decoded():
            return fn.decoders.image(fn.external_source(name="x"))
        """,
        files={"a.jpg": jpeg(320, 240)},
        samples=[{"inputs": [{"name": "x", "file": "a.jpg"}]}],
    )

    assert built.io.outputs[0].shape == (-1, -1, 3)
    assert len(built.result.samples) == 1


def test_a_sample_the_pipeline_refuses_is_the_users_fault(build: Build) -> None:
    fault = build(
        """
        @pipeline_def(batch_size=1)
        def decoded():
            return fn.decoders.image(fn.external_source(name="x"))
        """,
        files={"good.jpg": jpeg(320, 240), "bad.jpg": b"not an image at all"},
        samples=[{"inputs": [{"name": "x", "file": name}]} for name in ("good.jpg", "bad.jpg")],
    ).fault

    assert fault.field == "spec.models[3].dali.samples[1]"
    assert "line 6" in fault.message


def test_numeric_samples_come_as_npy(build: Build, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.eye(3, dtype=np.float32))
    content = (tmp_path / "m.npy").read_bytes()
    text = """
        @pipeline_def(batch_size=1)
        def squared():
            x = fn.external_source(name="x", ndim=2, dtype=types.FLOAT)
            return x * x
        """
    sample = [{"inputs": [{"name": "x", "file": "m"}]}]

    built = build(text, files={"m": content}, samples=sample)
    assert built.result.samples[0].inputs[0].shape == (1, 3, 3)

    raw = build(text, files={"m": b"\0" * 36}, samples=sample).fault
    assert raw.field == "spec.models[3].dali.samples[0].inputs[0]"
    assert "numpy.save" in raw.message

    damaged = build(text, files={"m": content[:-1]}, samples=sample).fault
    assert damaged.field == "spec.models[3].dali.samples[0].inputs[0]"
    assert "the .npy file cannot be read" in damaged.message

    other = build(text, files={"m": content}, samples=[{"inputs": [{"name": "y", "file": "m"}]}]).fault
    assert "no input 'y'; it has x" in other.message


def test_stated_inputs_fill_what_the_pipeline_leaves_open(build: Build) -> None:
    text = """
        @pipeline_def(batch_size=1)
        def scaled():
            return fn.external_source(name="x") * fn.external_source(name="factor")
        """

    fault = build(text).fault
    assert fault.field == "spec.models[3].dali.source"
    assert "input 'x' does not say what it takes: add dtype=types.… and ndim=…" in fault.message

    built = build(
        text,
        inputs=[
            {"name": "factor", "data_type": "TYPE_FP32", "dims": [1]},
            {"name": "x", "data_type": "TYPE_FP32", "dims": [-1]},
        ],
    )
    assert {tensor.name: tensor.shape for tensor in built.io.inputs} == {"x": (-1,), "factor": (1,)}
    assert built.io.outputs[0].shape == (-1,)
