"""The video example's pipeline with real DALI: every frame of the clip comes out, eight at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from nvidia.dali import Pipeline
from preparation.video import FRAMES


def test_the_clip_comes_out_in_sequences(
    pipeline: Callable[[str, str], Pipeline], prepared: Callable[[str], Path]
) -> None:
    built = pipeline("video", "sequences")
    built.feed_input("video", [np.fromfile(prepared("video") / "bikes.mp4", np.uint8)])
    sequences = [np.asarray(built.run()[0][0]) for _ in range(-(-FRAMES // 8))]
    assert [sequence.shape[0] for sequence in sequences] == [8, 8, 8, 8, 8, 8, FRAMES % 8]
    assert {sequence.shape[1:] for sequence in sequences} == {(112, 112, 3)}
    frames = np.concatenate(sequences).astype(np.float32)
    assert frames.std() > 20
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.5
