"""Answers as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_cli.asking.servers import Answer
from ensemble_cli.asking.tensors import ModelView

FEW = 16
"""Values that are shown one by one."""
MOST_VALUES = 10_000
"""Values of a tensor that -o json writes out."""


def classes_of(model: ModelView, top: int) -> dict[str, int]:
    """Outputs that look like class scores: a vector of floats."""
    return {
        output.name: top
        for output in model.outputs
        if top and not model.decoupled and output.data_type.startswith("FP") and len(output.dims) == 1
        and output.dims[0] not in {0, 1}
    }  # fmt: skip


def answer_data(answer: Answer, classes: Mapping[str, int]) -> dict[str, Any]:
    """JSON of one answer."""
    return {name: _tensor_data(*tensor, classified=name in classes) for name, tensor in answer.items()}


def _tensor_data(data_type: str, value: NDArray[np.generic], *, classified: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"datatype": data_type, "shape": list(value.shape)}
    if classified:
        rows = value.reshape(-1, value.shape[-1])
        return data | {"classes": [[_class(item) for item in row] for row in rows.tolist()]}
    if value.size <= MOST_VALUES:
        return data | {"values": _plain(value.tolist())}
    return data


def _class(item: bytes) -> dict[str, Any]:
    """score:index[:label] of Triton's classification extension."""
    score, index, *label = item.decode(errors="replace").split(":", 2)
    return {"score": float(score), "index": int(index), **({"label": label[0]} if label else {})}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def answer_lines(answer: Answer, classes: Mapping[str, int]) -> Iterator[str]:
    """One answer, an output a paragraph."""
    for name, (data_type, value) in answer.items():
        if name in classes:
            yield f"{name}:"
            for item in value.reshape(-1).tolist():
                found = _class(item)
                label = found.get("label") or f"class {found['index']}"
                yield f"  {found['score']:8.4f}  {label}"
        else:
            yield f"{name}: {data_type} {list(value.shape)}  {_summary(value)}"


def _summary(value: NDArray[np.generic]) -> str:
    if value.size <= FEW or value.dtype == np.object_:
        shown = [_plain(item) for item in value.reshape(-1)[:FEW].tolist()]
        return str(shown if value.ndim else shown[0])
    numbers = value.astype(np.float64)
    return f"min {numbers.min():.4g}, mean {numbers.mean():.4g}, max {numbers.max():.4g}"
