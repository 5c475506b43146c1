"""The Python around the network: preprocessing, ranking, the second look of the BLS example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from preparation.photographs import photograph

Load = Callable[[str], ModuleType]


def test_resizing_is_as_good_as_pillow(module: Load) -> None:
    resampling = module("python-pre-post/preprocess/resampling.py")
    image = Image.open(photograph("coffee.png")).convert("RGB")
    mine = resampling.resize(np.asarray(image), 256, 384)
    theirs = np.asarray(image.resize((384, 256), Image.Resampling.BICUBIC), np.float32)
    assert mine.shape == theirs.shape
    difference = np.abs(mine - theirs)  # Pillow rounds between its two passes
    assert difference.mean() < 0.4
    assert np.percentile(difference, 99.9) < 2


@pytest.mark.parametrize(("height", "width"), [(224, 224), (300, 1200), (1000, 256), (40, 30)])
def test_any_size_becomes_the_networks_input(height: int, width: int, module: Load) -> None:
    resampling = module("python-pre-post/preprocess/resampling.py")
    grey = np.full((height, width, 3), 127, np.uint8)
    image = resampling.network_input(grey)
    assert image.shape == (3, 224, 224)
    assert image.dtype == np.float32
    assert np.abs(image).max() < 1e-3


def test_pixels_become_named_classes(module: Load, prepared: Callable[[str], Path]) -> None:
    folder = prepared("python-pre-post")
    resampling = module("python-pre-post/preprocess/resampling.py")
    ranking = module("python-pre-post/postprocess/ranking.py")
    names = ("coffee.png", "chelsea.png")
    images = [np.asarray(Image.open(photograph(name)).convert("RGB")) for name in names]
    batch = np.stack([resampling.network_input(pixels) for pixels in images])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    probabilities = session.run(["probabilities"], {"image": batch})[0]
    labels = (folder / "postprocess" / "labels.txt").read_text().splitlines()
    classes, scores = ranking.best(probabilities, labels, 5)
    assert classes.shape == scores.shape == (2, 5)
    assert list(classes[:, 0]) == [b"espresso", b"tiger cat"]
    assert (np.diff(scores, axis=1) <= 0).all()


def test_ranking_takes_the_largest_in_order(module: Load) -> None:
    ranking = module("python-pre-post/postprocess/ranking.py")
    classes, scores = ranking.best(np.array([[0.1, 0.6, 0.3]], np.float32), ["a", "b", "c"], 2)
    assert classes.tolist() == [[b"b", b"c"]]
    assert scores[0] == pytest.approx([0.6, 0.3])


def test_a_second_look_only_where_the_first_is_unsure(module: Load) -> None:
    averaging = module("bls/classify/averaging.py")
    assert averaging.unsure(np.array([[0.5, 0.5]]))
    assert not averaging.unsure(np.array([[0.95, 0.05]]))
    image = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    assert averaging.mirrored(image).tolist() == [[[[2, 1, 0], [5, 4, 3]]]]
    both = averaging.together(np.array([[0.2, 0.8]]), np.array([[0.6, 0.4]]))
    assert both[0] == pytest.approx([0.4, 0.6])
