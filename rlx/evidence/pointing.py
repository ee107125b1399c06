"""Scores of points and boxes on a screen, smooth near what was meant."""

import math
from typing import NamedTuple

Number = float | int
Point = tuple[Number, Number]


class Box(NamedTuple):
  """A rectangle, in any unit of length."""

  left: Number
  top: Number
  right: Number
  bottom: Number


def point(predicted: Point, gold: Point, tolerance: Number) -> float:
  """exp(-(dx^4 + dy^4)) with distances in tolerances, in (0, 1].

  Flat near the target: half a tolerance off in both directions still pays .88.

  Source: Step-GUI 2025, arXiv:2512.15431. [paper]

  Raises:
    ValueError: `tolerance` is not positive.
  """
  return math.exp(-_fourth(predicted, gold, tolerance))


def box(
  predicted: Box,
  gold: Box,
  tolerance: Number,
  *,
  alpha: float = 0.8,
  size_weight: float = 0.5,
) -> float:
  """alpha exp(-E) + (1 - alpha) IoU, in [0, 1].

      E = dcx^4 + dcy^4 + size_weight (dw^4 + dh^4)

  with the distances between centres, widths and heights in tolerances.

  Source: Step-GUI 2025, arXiv:2512.15431. [paper]

  Raises:
    ValueError: `tolerance` is not positive.
  """
  centres = _fourth(_centre(predicted), _centre(gold), tolerance)
  sizes = _fourth(_size(predicted), _size(gold), tolerance)
  return box_score(
    centres + size_weight * sizes, iou(predicted, gold), alpha=alpha
  )


def box_score(energy: Number, iou: Number, *, alpha: float = 0.8) -> float:
  """alpha exp(-energy) + (1 - alpha) iou."""
  return alpha * math.exp(-energy) + (1 - alpha) * iou


def iou(a: Box, b: Box) -> float:
  """Area of the intersection over that of the union; 0 if both are empty."""
  width = min(a.right, b.right) - max(a.left, b.left)
  height = min(a.bottom, b.bottom) - max(a.top, b.top)
  both = max(width, 0.0) * max(height, 0.0)
  areas = [math.prod(max(x, 0.0) for x in _size(box)) for box in (a, b)]
  union = sum(areas) - both
  return both / union if union > 0 else 0.0


def _fourth(a, b, tolerance: Number) -> float:
  if tolerance <= 0:
    raise ValueError(f"tolerance={tolerance} is not positive")
  return sum(((x - y) / tolerance) ** 4 for x, y in zip(a, b, strict=True))


def _centre(x: Box) -> Point:
  return (x.left + x.right) / 2, (x.top + x.bottom) / 2


def _size(x: Box) -> Point:
  return x.right - x.left, x.bottom - x.top
