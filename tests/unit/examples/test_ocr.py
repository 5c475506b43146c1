"""The OCR example's Python and its three real networks, on text drawn here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Load = Callable[[str], ModuleType]


@dataclass(frozen=True)
class Ocr:
    """The steps of ocr/ensemble.yaml in their order."""

    load: Load
    sessions: dict[str, onnxruntime.InferenceSession]
    characters: list[str]

    def __call__(self, image: Image.Image) -> list[tuple[str, NDArray[np.float32]]]:
        pixels = np.asarray(image.convert("RGB"))[:, :, ::-1]
        scaled = self.load("ocr/fit/scaling.py").detector_input(pixels)
        likelihood = self._run("detection", scaled)[0, 0]
        boxes = self.load("ocr/crop/regions.py").text_boxes(likelihood, *pixels.shape[:2])
        lines, views, widths = self.load("ocr/crop/lines.py").cut_out(pixels, boxes)
        upright = self.load("ocr/upright/turning.py").upright(lines, widths, self._run("direction", views))
        spelling = self.load("ocr/read/spelling.py")
        spelled = spelling.spell(self._run("recognition", upright), spelling.alphabet(self.characters))
        return [
            (text, box)
            for (text, score), box in zip(spelled, boxes, strict=False)
            if score >= spelling.LEGIBLE
        ]

    def _run(self, model: str, value: NDArray[np.float32]) -> Any:
        return self.sessions[model].run(None, {"x": value})[0]


@pytest.fixture(scope="module")
def ocr(module: Load, prepared: Callable[[str], Path]) -> Ocr:
    folder = prepared("ocr")
    sessions = {
        name: onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for name in ("detection", "direction", "recognition")
    }
    characters = (folder / "read" / "characters.txt").read_text(encoding="utf-8").split("\n")
    return Ocr(module, sessions, characters)


def drawn(text: str, size: int) -> Image.Image:
    """Dark on transparent, just large enough."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("RGBA", (int(right - left) + 10, int(bottom - top) + 10), (255, 255, 255, 0))
    ImageDraw.Draw(image).text((5 - left, 5 - top), text, fill=(20, 20, 60, 255), font=font)
    return image


def test_text_is_read_in_order_straight_slanted_and_upside_down(ocr: Ocr) -> None:
    page = Image.new("RGB", (900, 520), "white")
    for text, place, size, angle in (
        ("Inference ensembles, 26.05", (40, 30), 44, 0),
        ("right column", (480, 120), 30, 0),
        ("left column", (40, 123), 30, 0),
        ("upside down line", (40, 220), 36, 180),
        ("slanted words here", (430, 300), 36, 12),
    ):
        ink = drawn(text, size).rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
        page.paste(ink, place, ink)
    found = ocr(page)
    assert [text.replace(" ", "") for text, _ in found] == [
        "Inferenceensembles,26.05",
        "leftcolumn",
        "rightcolumn",
        "upsidedownline",
        "slantedwordshere",
    ]
    first = found[0][1]
    assert first[0] == pytest.approx([43, 38], abs=8)
    slanted = found[4][1]
    rise = slanted[0][1] - slanted[1][1]
    run = slanted[1][0] - slanted[0][0]
    assert np.degrees(np.arctan2(rise, run)) == pytest.approx(12, abs=1.5)


def test_a_page_without_text_reads_as_nothing(ocr: Ocr) -> None:
    assert ocr(Image.new("RGB", (320, 240), "white")) == []


def test_regions_touching_at_corners_are_one(module: Load) -> None:
    regions = module("ocr/crop/regions.py")
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)
    sizes = sorted(len({tuple(point) for point in region}) for region in regions.connected_regions(mask))
    assert sizes == [1, 2, 2]


def test_the_smallest_rectangle_is_turned_with_its_points(module: Load) -> None:
    regions = module("ocr/crop/regions.py")
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [40, 0], [40, 10], [0, 10]]) @ turn.T + 50
    inner = np.array([[20, 5], [3, 3]]) @ turn.T + 50
    box = regions.smallest_rectangle(np.concatenate([inner, corners]))
    assert np.sort(box, axis=0) == pytest.approx(np.sort(corners, axis=0), abs=1e-9)


def test_letters_are_joined_and_separated(module: Load) -> None:
    spelling = module("ocr/read/spelling.py")
    symbols = spelling.alphabet(["a", "b"])
    columns = [1, 1, 0, 1, 3, 2, 2]
    letters = np.full((1, len(columns), 4), 0.1, np.float32)
    letters[0, np.arange(len(columns)), columns] = 0.7
    assert spelling.spell(letters, symbols) == [("aa b", pytest.approx(0.7))]
