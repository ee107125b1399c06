"""Overlap of label sets: with the gold labels, and within a group."""

from collections.abc import Collection, Hashable, Sequence

Labels = Collection[Hashable]


def iou(predicted: Labels, gold: Labels, smoothing: float | int = 1.0) -> float:
  """(|P and Y| + e) / (|P or Y| + e), in (0, 1].

  Two empty sets give 1, and 0 where nothing smooths: e = 0.

  Source: SELF-EMO, arXiv:2604.18003; the formula is inferred.
  """
  p, y = set(predicted), set(gold)
  union = len(p | y) + smoothing
  return (len(p & y) + smoothing) / union if union else 0.0


def consistency(
  predictions: Sequence[Labels], smoothing: float | int = 1.0
) -> list[float]:
  """Each prediction's mean `iou` with the others of its group; 0 if alone.

  Source: SELF-EMO, arXiv:2604.18003; the formula is inferred.
  """
  peers = max(len(predictions) - 1, 1)
  return [
    sum(iou(p, q, smoothing) for j, q in enumerate(predictions) if j != i)
    / peers
    for i, p in enumerate(predictions)
  ]
