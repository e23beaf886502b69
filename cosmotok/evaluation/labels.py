"""Places the labels of points in a chart so that they overlap neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["Label", "place"]

DISTANCES = (7, 12, 18, 26, 36, 48, 62)
"""Of a label from its point, in points of 1/72 inch; the nearest free place is taken."""
DIRECTIONS = (0, 180, 20, -20, 160, -160, 45, -45, 135, -135, 70, -70, 110, -110, 90, -90)
"""Degrees, counted from the right upwards; the first free one is taken."""
LINE_FROM = 12
"""Distance from which a line leads from the point to its label."""
MARKER = 4.5
"""Half the size of what a label of another point keeps clear of."""
GAP = 1.5
"""Between labels."""


@dataclass(frozen=True)
class Label:
    """Text at a point of the data."""

    x: float
    y: float
    text: str
    colour: str


def place(axes: Any, labels: Sequence[Label], points: np.ndarray, lines: Sequence[np.ndarray] = ()) -> None:
    """Writes labels on matplotlib's axes, whose limits and layout are settled; the first ones choose first.

    Args:
        points: (N, 2), all points that are drawn.
        lines: each (N, 2), drawn between its points.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()
    scale = 72 / figure.dpi  # from pixels to points

    def to_points(data: np.ndarray) -> np.ndarray:
        return axes.transData.transform(np.asarray(data, float).reshape(-1, 2)) * scale

    area = axes.get_window_extent(renderer)
    frame = np.array([area.x0, area.y0, area.x1, area.y1]) * scale
    taken = [boxes_around(to_points(points), MARKER)]
    taken += [boxes_around(along(to_points(line)), 3.5) for line in lines]
    obstacles = np.concatenate(taken)
    for label in labels:
        (at,) = to_points(np.array([[label.x, label.y]]))
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            color=label.colour,
            ha="left",
            va="bottom",
            fontsize="small",
        )
        extent = text.get_window_extent(renderer)
        box, distance = free_box(at, (extent.width * scale, extent.height * scale), frame, obstacles)
        text.set_position(tuple(box[:2] - at))
        if distance >= LINE_FROM:
            end = np.clip(at, box[:2], box[2:]) - at
            axes.annotate(
                "",
                (label.x, label.y),
                tuple(end),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.5, "alpha": 0.6, "shrinkB": 3},
            )
        obstacles = np.concatenate((obstacles, box[None] + np.array([-GAP, -GAP, GAP, GAP])))


def free_box(
    at: np.ndarray, size: tuple[float, float], frame: np.ndarray, obstacles: np.ndarray
) -> tuple[np.ndarray, int]:
    """The first place near a point where nothing is, else the one with least below it: (left, bottom, right, top)."""
    least, found = math.inf, (np.zeros(4), 0)
    for distance in DISTANCES:
        for direction in DIRECTIONS:
            box = box_beside(at, size, distance, math.radians(direction))
            outside = np.clip(frame[:2] - box[:2], 0, None).sum() + np.clip(box[2:] - frame[2:], 0, None).sum()
            cost = 100 * outside + overlap(box, obstacles)
            if cost == 0:
                return box, distance
            if cost < least:
                least, found = cost, (box, distance)
    return found


def box_beside(at: np.ndarray, size: tuple[float, float], distance: float, direction: float) -> np.ndarray:
    """A box whose nearest edge or corner lies in a direction from a point."""
    x, y = math.cos(direction), math.sin(direction)
    left = at[0] + distance * x - size[0] * (1 - x) / 2
    bottom = at[1] + distance * y - size[1] * (1 - y) / 2
    return np.array([left, bottom, left + size[0], bottom + size[1]])


def boxes_around(points: np.ndarray, half: float) -> np.ndarray:
    return np.concatenate((points - half, points + half), axis=1)


def along(line: np.ndarray) -> np.ndarray:
    """Points every four along a line."""
    pieces = [line[:1]]
    for begin, end in pairwise(line):
        count = max(2, int(np.hypot(*(end - begin)) / 4))
        pieces.append(np.linspace(begin, end, count))
    return np.concatenate(pieces)


def overlap(box: np.ndarray, others: np.ndarray) -> float:
    """The area that a box shares with others."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((width.clip(0) * height.clip(0)).sum())
