"""What engines are tried with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble_builder.compilers.parameters import InputFile
from ensemble_builder.compilers.tensorrt.proof_settings import SampleFiles
from ensemble_builder.compilers.tensorrt.sample_files import read_samples
from ensemble_builder.compilers.tensorrt.samples import (
    EngineInput,
    GivenSample,
    Range,
    UnfitSampleError,
    given,
    seeded,
)
from ensemble_builder.faults import FaultError

FIELD = "spec.models[0].tensorrt.verification.samples"
FLOAT = np.dtype(np.float32)


def image(*ranges: Range, dtype: np.dtype[np.generic] = FLOAT) -> EngineInput:
    return EngineInput("image", dtype, ranges or (Range((1, 3, 8, 8), (16, 3, 8, 8), (64, 3, 16, 16)),))


def test_every_profile_is_tried_at_its_bounds() -> None:
    two = image(Range((1, 2), (4, 2), (4, 2)), Range((1, 2), (32, 2), (64, 2)))

    trials = list(seeded([two], batching=True))

    assert [(trial.profile, trial.bound, trial.batch) for trial in trials] == [
        (0, "min", 1),
        (0, "opt", 4),
        (1, "min", 1),
        (1, "opt", 32),
        (1, "max", 64),
    ]
    first, *_, last = trials
    assert last.items["image"].shape == (8, 2), "the reference computes no more"
    assert last.inputs()["image"].shape == (64, 2)
    assert np.array_equal(last.inputs()["image"][8], last.inputs()["image"][0])
    assert np.array_equal(first.inputs()["image"][0], last.inputs()["image"][0])
    assert not np.array_equal(last.items["image"][0], last.items["image"][1])


def test_the_numbers_are_the_same_every_time_and_fit_the_type() -> None:
    pixels = image(dtype=np.dtype(np.uint8))
    tokens = EngineInput("ids", np.dtype(np.int64), (Range((1, 8), (16, 8), (64, 8)),))

    one, two = (list(seeded([pixels, tokens], batching=True)) for _ in range(2))

    assert all(np.array_equal(a.items["image"], b.items["image"]) for a, b in zip(one, two, strict=True))
    assert one[0].items["image"].max() > 200
    assert set(np.unique(one[0].items["ids"])) == {0, 1}, "any table has these"


def test_without_a_batch_axis_each_shape_is_tried_with_two_sets_of_numbers() -> None:
    shape = (1, 3, 4, 4)
    trials = list(seeded([image(Range(shape, shape, shape))], batching=False))

    assert [trial.batch for trial in trials] == [None, None]
    assert not np.array_equal(trials[0].items["image"], trials[1].items["image"])


def test_shape_tensors_get_the_profiles_values() -> None:
    size = EngineInput("size", np.dtype(np.int32), (Range((2,), (2,), (2,), ((1, 1), (2, 2), (4, 4))),))

    trials = list(seeded([size], batching=False))

    assert [trial.items["size"].tolist() for trial in trials[::2]] == [[1, 1], [2, 2], [4, 4]]


def test_samples_are_repeated_in_every_profile_that_takes_them() -> None:
    small, large = Range((1, 8), (4, 8), (8, 8)), Range((1, 8), (2, 16), (4, 32))
    samples = [GivenSample(f"s[{index}]", {"image": np.full((1, 8), index)}) for index in range(3)]

    trials = list(given([image(small, large)], samples, batching=True))

    assert sorted((trial.profile, trial.batch) for trial in trials) == [
        (0, 1), (0, 4), (0, 8), (1, 1), (1, 2), (1, 4),
    ]  # fmt: skip
    eight = next(trial for trial in trials if trial.batch == 8)
    assert eight.inputs()["image"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(("largest", "batches"), [(1, [1] * 10), (4, [1, 4, 4, 4]), (64, [1, 64, 64])])
def test_every_item_of_the_samples_is_run(largest: int, batches: list[int]) -> None:
    """Also where there are more than the largest batch holds, or than are tried in one batch."""
    samples = [
        GivenSample("s[0]", {"image": np.arange(6.0).reshape(6, 1)}, {"logits": np.arange(6.0)}),
        GivenSample("s[1]", {"image": np.arange(6.0, 10.0).reshape(4, 1)}, {"logits": np.arange(6.0, 10.0)}),
    ]

    trials = list(given([image(Range((1, 1), (largest, 1), (largest, 1)))], samples, batching=True))

    assert [trial.batch for trial in trials] == batches
    run = {float(value) for trial in trials for value in trial.inputs()["image"].ravel()}
    assert run == set(map(float, range(10)))
    for trial in trials:
        assert trial.expected is not None
        assert np.array_equal(trial.expected["logits"], trial.items["image"][:, 0])


def test_inputs_whose_profiles_differ_in_their_batch_are_tried_with_what_both_take() -> None:
    inputs = [
        EngineInput("image", FLOAT, (Range((1, 2), (16, 2), (64, 2)),)),
        EngineInput("mask", FLOAT, (Range((1, 2), (8, 2), (32, 2)),)),
    ]
    sample = GivenSample("s[0]", {entry.name: np.zeros((1, 2)) for entry in inputs})

    for trials in (seeded(inputs, batching=True), given(inputs, [sample], batching=True)):
        assert [trial.batch for trial in trials] == [1, 8, 32]


def test_a_sample_that_no_profile_takes_is_named() -> None:
    sample = GivenSample(f"{FIELD}[0]", {"image": np.zeros((1, 3, 99, 99))})

    with pytest.raises(UnfitSampleError, match=r"no profile takes.*99, 99") as caught:
        list(given([image()], [sample], batching=True))
    assert caught.value.at == f"{FIELD}[0]"


def read(tmp_path: Path, name: str, entry: EngineInput, *, answer: str = "") -> GivenSample:
    outputs = (InputFile(name="logits", file=answer),) if answer else ()
    sample = SampleFiles(inputs=(InputFile(name="image", file=name),), outputs=outputs)
    (found,) = read_all(tmp_path, [entry], sample)
    return found


def read_all(
    tmp_path: Path, entries: list[EngineInput], *samples: SampleFiles, answers: bool = True
) -> tuple[GivenSample, ...]:
    outputs = {"logits": FLOAT, "boxes": FLOAT}
    return read_samples(
        samples, entries, outputs, folder=tmp_path, field=FIELD, batching=True, answers=answers
    )


def test_sample_files_are_npy_or_raw_numbers(tmp_path: Path) -> None:
    fixed = image(Range((1, 3, 2), (4, 3, 2), (4, 3, 2)))
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "item.npy", values.astype(np.float64))
    np.save(tmp_path / "batch.npy", values[np.newaxis])
    np.save(tmp_path / "answer.npy", np.array([1.0, 2.0, 3.0]))
    (tmp_path / "raw.bin").write_bytes(values.tobytes())

    for name in ("item.npy", "batch.npy", "raw.bin"):
        sample = read(tmp_path, name, fixed, answer="answer.npy")
        assert np.array_equal(sample.inputs["image"], values[np.newaxis])
        assert sample.inputs["image"].dtype == np.float32
        assert sample.outputs["logits"].shape == (1, 3)


@pytest.mark.parametrize(
    ("data", "dtype", "place", "words"),
    [
        (b"12345", FLOAT, "source", "the shape is not fixed: give a .npy file"),
        (b"\x93NUMPY broken", FLOAT, "source", "cannot be read"),
        (np.zeros((3, 8, 8), np.float32), np.dtype(np.uint8), "source", "it holds float32, the model takes"),
        (np.zeros((8, 8), np.float32), FLOAT, "source", "does not have the input's 4 axes"),
    ],
)
def test_sample_files_that_do_not_fit(
    tmp_path: Path, data: bytes | np.ndarray, dtype: np.dtype[np.generic], place: str, words: str
) -> None:
    if isinstance(data, bytes):
        (tmp_path / "x").write_bytes(data)
    else:
        with (tmp_path / "x").open("wb") as file:
            np.save(file, data)

    with pytest.raises(FaultError) as caught:
        read(tmp_path, "x", image(dtype=dtype))
    assert caught.value.fault.field == f"{FIELD}[0].inputs[0].{place}"
    assert words in caught.value.fault.message


def test_samples_have_the_same_outputs_where_they_are_compared_with(tmp_path: Path) -> None:
    pair = EngineInput("image", FLOAT, (Range((1, 2), (4, 2), (4, 2)),))
    np.save(tmp_path / "pair.npy", np.zeros(2))
    inputs = (InputFile(name="image", file="pair.npy"),)
    logits, boxes = (InputFile(name=name, file="pair.npy") for name in ("logits", "boxes"))
    both, one = (
        SampleFiles(inputs=inputs, outputs=(logits, boxes)),
        SampleFiles(inputs=inputs, outputs=(logits,)),
    )

    with pytest.raises(FaultError, match="has boxes, logits: give every sample the same") as caught:
        read_all(tmp_path, [pair], both, one)

    assert caught.value.fault.field == f"{FIELD}[1].outputs"
    unread = read_all(tmp_path, [pair], both, one, answers=False)
    assert [sample.outputs for sample in unread] == [{}, {}]


@pytest.mark.parametrize(
    ("size", "message"), [(3, "'mask' has 3 items, 'image' has 2"), (0, "holds no item")]
)
def test_inputs_of_a_sample_have_as_many_items(tmp_path: Path, size: int, message: str) -> None:
    entries = [EngineInput(name, FLOAT, (Range((1, 2), (4, 2), (4, 2)),)) for name in ("image", "mask")]
    np.save(tmp_path / "image.npy", np.zeros((2, 2)))
    np.save(tmp_path / "mask.npy", np.zeros((size, 2)))
    names = ("image", "mask")
    sample = SampleFiles(inputs=tuple(InputFile(name=name, file=f"{name}.npy") for name in names))

    with pytest.raises(FaultError, match=message) as caught:
        read_all(tmp_path, entries, sample)

    assert caught.value.fault.field == f"{FIELD}[0].inputs[1].source"
