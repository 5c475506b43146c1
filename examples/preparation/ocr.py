"""The text models of RapidOCR (PP-OCRv4, Apache-2.0): detection, direction, recognition."""

from __future__ import annotations

from pathlib import Path

import onnx

from preparation.cache import cached
from preparation.wheels import Wheel

RAPIDOCR = Wheel(
    "rapidocr-onnxruntime",
    "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
MODELS = {
    "detection": "ch_PP-OCRv4_det_infer.onnx",
    "direction": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recognition": "ch_PP-OCRv4_rec_infer.onnx",
}


def text_model(name: str) -> Path:
    """The ONNX file of a key of MODELS."""

    def take(target: Path) -> None:
        target.write_bytes(RAPIDOCR.read(f"rapidocr_onnxruntime/models/{MODELS[name]}"))

    return cached(f"rapidocr-1.4.4/{name}.onnx", take)


def characters() -> Path:
    """What the recogniser can read, one character a line, as its ONNX file carries it."""

    def take(target: Path) -> None:
        model = onnx.load(text_model("recognition"))
        listed = next(entry.value for entry in model.metadata_props if entry.key == "character")
        target.write_text("\n".join(listed.splitlines()), encoding="utf-8")

    return cached("rapidocr-1.4.4/characters.txt", take)
