"""The stand-in of the DALI backend against DALI itself: pipelines written for a GPU run on the CPU."""

import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("nvidia.dali", reason="the dependency group `runtimes` is not installed")

from backends.dali import capi, cpu_twin, ioconfig
from nvidia.dali import fn, pipeline_def, types


def png(*, height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return np.frombuffer(buffer.getvalue(), np.uint8)


@pipeline_def(batch_size=8, num_threads=1, device_id=None)  # type: ignore[untyped-decorator]
def decode_and_resize(device: str) -> Any:
    encoded = fn.external_source(name="ENCODED", ndim=1, dtype=types.UINT8)
    image = fn.decoders.image(encoded, device="mixed" if device == "gpu" else "cpu")
    resized = fn.resize(image, resize_x=32, resize_y=16, device=device)
    return resized, fn.reductions.mean(resized, device=device)


def run(serialized: bytes, samples: Sequence[np.ndarray[Any, Any]]) -> list[capi.Batch]:
    pipeline = capi.Pipeline(cpu_twin.to_cpu(serialized), max_batch_size=4, threads=1)
    try:
        pipeline.feed("ENCODED", samples, "1")
        batches, traces = pipeline.run()
    finally:
        pipeline.close()
    assert traces["ENCODED", "depleted"] == "true"
    return batches


def test_a_pipeline_for_the_gpu_gives_what_its_cpu_version_gives() -> None:
    samples = [png(height=40, width=50), png(height=30, width=20, seed=1)]
    for_gpu = decode_and_resize(device="gpu").serialize()
    images, means = run(for_gpu, samples)

    reference = decode_and_resize(device="cpu")
    reference.feed_input("ENCODED", samples)
    expected_images, expected_means = reference.run()
    assert images.shapes == ((16, 32, 3), (16, 32, 3))
    assert np.array_equal(np.asarray(images.values).reshape(2, 16, 32, 3), expected_images.as_array())
    assert means.shapes == ((), ())
    assert np.array_equal(np.asarray(means.values), expected_means.as_array())


def test_the_batch_size_of_the_file_is_read() -> None:
    assert cpu_twin.batch_size(decode_and_resize(device="gpu").serialize()) == 8


@pytest.mark.parametrize("broken", [b"\xff", b"\x2a\x10ab", b"\x0f"])
def test_what_is_no_pipeline_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match="serialised pipeline"):
        cpu_twin.to_cpu(broken)


def test_a_broken_image_is_dali_s_error_and_no_crash() -> None:
    with pytest.raises(capi.DaliError, match="decoders"):
        run(decode_and_resize(device="gpu").serialize(), [np.zeros(10, np.uint8)])


def tensors(*, outputs: int = 2) -> Any:
    declared = capi.Tensor("ENCODED", np.dtype(np.uint8), 1)
    return SimpleNamespace(inputs=(declared,), outputs=(capi.Tensor("o", None, None),) * outputs)


def config(**changes: Any) -> dict[str, Any]:
    named = [{"name": name, "data_type": "TYPE_FP32", "dims": [-1]} for name in ("first", "second")]
    entry = {"name": "ENCODED", "data_type": "TYPE_UINT8", "dims": [-1]}
    return {"input": [entry], "output": named, **changes}


def test_outputs_are_bound_by_order_whatever_their_names() -> None:
    ioconfig.validate(config(), tensors(), batched=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"output": config()["output"][:1]}, "number of outputs"),
        ({"input": [{"name": "X", "data_type": "TYPE_UINT8", "dims": [-1]}]}, "config for X"),
        ({"input": []}, 'Missing config for "ENCODED"'),
        ({"input": [{"name": "ENCODED", "data_type": "TYPE_FP32", "dims": [-1]}]}, "Mismatch of data_type"),
        (
            {"input": [{"name": "ENCODED", "data_type": "TYPE_UINT8", "dims": [-1, 3]}]},
            "number of dimensions",
        ),
    ],
)
def test_what_the_real_backend_refuses_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ioconfig.ConfigError, match=message):
        ioconfig.validate(config(**changed), tensors(), batched=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name: "a"\nmax_batch_size: 0\n', 0),
        ("max_batch_size:16", 16),
        ('name: "max_batch_size: 3"\n# max_batch_size: 4\n', None),
        ("input [{ max_batch_size: 5 }]", None),
    ],
)
def test_the_batch_size_is_read_from_the_text(tmp_path: Path, text: str, expected: int | None) -> None:
    (tmp_path / "config.pbtxt").write_text(text)
    assert ioconfig.stated_batch_size(tmp_path / "config.pbtxt") == expected
