"""Rectangles around text, from the detector's map of how likely each pixel is text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""[n, 2] of x, y."""

LIKELY = 0.3
"""Pixels above this belong to text."""
CONFIDENT = 0.5
"""Mean over a rectangle below which it is dropped."""
GROWTH = 1.6
"""The detector is trained on shrunk regions; this much of area over circumference is added again."""
SMALLEST = 3.0
"""Side in pixels of the map below which a region is noise."""
SAME_LINE = 10.0
"""Regions whose tops differ by less are read from left to right."""


def text_boxes(likelihood: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Rectangles in reading order, each clockwise from its top left corner, in pixels of the image.

    Args:
        likelihood: [h, w], the detector's output.
        height, width: size of the image.

    Returns:
        [n, 4, 2] of x, y.
    """
    mask = likelihood > LIKELY
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:, 1:] |= mask[:, :-1]
    grown[1:, 1:] |= mask[:-1, :-1]
    scale = np.array([width / likelihood.shape[1], height / likelihood.shape[0]])
    boxes = []
    for points in connected_regions(grown):
        box = smallest_rectangle(points)
        if min(_sides(box)) < SMALLEST or mean_inside(likelihood, box) < CONFIDENT:
            continue
        box = np.round(grow(box) * scale)
        box = clockwise(np.clip(box, 0, [width - 1, height - 1]))
        if min(_sides(box)) > SMALLEST:
            boxes.append(box)
    return np.array(reading_order(boxes), dtype=np.float32).reshape(-1, 4, 2)


def connected_regions(mask: NDArray[np.bool_]) -> list[Points]:
    """Ends of all horizontal runs of each 8-connected region."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    changes = np.diff(padded, axis=1)
    rows, starts = np.nonzero(changes == 1)
    _, ends = np.nonzero(changes == -1)
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0
    for run in range(len(rows)):
        while above < run and (
            rows[above] < rows[run] - 1 or (rows[above] == rows[run] - 1 and ends[above] < starts[run])
        ):
            above += 1
        other = above
        while other < run and rows[other] == rows[run] - 1 and starts[other] <= ends[run]:
            parent[root(run)] = root(other)
            other += 1
    regions: dict[int, list[tuple[int, int]]] = {}
    for run in range(len(rows)):
        points = regions.setdefault(root(run), [])
        points += [(int(starts[run]), int(rows[run])), (int(ends[run]) - 1, int(rows[run]))]
    return [np.array(points, dtype=np.float64) for points in regions.values()]


def convex_hull(points: Points) -> Points:
    """Corners in order, by Andrew's monotone chain."""
    ordered = sorted(set(map(tuple, points.tolist())))
    if len(ordered) < 3:  # noqa: PLR2004 - a point or a line
        return np.array(ordered, dtype=np.float64)

    def half(candidates: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        chain: list[tuple[float, ...]] = []
        for x, y in candidates:
            while len(chain) > 1:
                (ax, ay), (bx, by) = chain[-2], chain[-1]
                if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                    break
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    return np.array(half(ordered) + half(ordered[::-1]), dtype=np.float64)


def smallest_rectangle(points: Points) -> Points:
    """Corners [4, 2] of the rectangle of least area around the points; one of its sides lies on the hull."""
    hull = convex_hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.linalg.norm(edges, axis=1, keepdims=True)
    along = edges[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    if not len(along):
        return np.repeat(hull[:1], 4, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    first, second = hull @ along.T, hull @ across.T
    areas = np.ptp(first, axis=0) * np.ptp(second, axis=0)
    best = int(areas.argmin())
    corners = [
        x * along[best] + y * across[best]
        for x, y in (
            (first[:, best].min(), second[:, best].min()),
            (first[:, best].max(), second[:, best].min()),
            (first[:, best].max(), second[:, best].max()),
            (first[:, best].min(), second[:, best].max()),
        )
    ]
    return np.array(corners)


def mean_inside(values: NDArray[np.float32], box: Points) -> float:
    """Mean of the values at pixels inside a rectangle."""
    low = np.maximum(np.floor(box.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(box.max(axis=0)).astype(int), [values.shape[1] - 1, values.shape[0] - 1])
    x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
    edges = np.roll(box, -1, axis=0) - box
    sides = [
        edge[0] * (y - corner[1]) - edge[1] * (x - corner[0]) for corner, edge in zip(box, edges, strict=True)
    ]
    inside = np.all([side >= 0 for side in sides], axis=0) | np.all([side <= 0 for side in sides], axis=0)
    covered = values[low[1] : high[1] + 1, low[0] : high[0] + 1][inside]
    return float(covered.mean()) if covered.size else 0.0


def grow(box: Points) -> Points:
    """The rectangle moved outwards on all sides by GROWTH times area over circumference."""
    width, height = _sides(box)
    distance = width * height * GROWTH / (2 * (width + height))
    along = (box[1] - box[0]) / width * distance
    across = (box[3] - box[0]) / height * distance
    return np.array(
        [box[0] - along - across, box[1] + along - across, box[2] + along + across, box[3] - along + across]
    )


def clockwise(box: Points) -> Points:
    """Corners as top left, top right, bottom right, bottom left."""
    by_x = box[np.argsort(box[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]])


def reading_order(boxes: list[Points]) -> list[Points]:
    ordered = sorted(boxes, key=lambda box: (box[0][1], box[0][0]))
    for end in range(1, len(ordered)):
        for index in range(end, 0, -1):
            before, here = ordered[index - 1][0], ordered[index][0]
            if abs(here[1] - before[1]) >= SAME_LINE or here[0] >= before[0]:
                break
            ordered[index - 1], ordered[index] = ordered[index], ordered[index - 1]
    return ordered


def _sides(box: Points) -> tuple[float, float]:
    return float(np.linalg.norm(box[1] - box[0])), float(np.linalg.norm(box[3] - box[0]))
