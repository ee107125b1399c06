"""Where the segments of a row begin, and each of them as a row of its own.

Breaks are int [B, T]: the token at which the segment begins that a turn opened,
-1 where the turn went on in the one before.
"""

import numpy as np


def first(rows: int, turns: int) -> np.ndarray:
  """Returns the breaks of rows that are one segment yet."""
  breaks = np.full((rows, turns), -1, np.int32)
  breaks[:, 0] = 0
  return breaks


def apart(
  x: np.ndarray, breaks: np.ndarray, length: np.ndarray, fill: int
) -> np.ndarray:
  """Returns `x` [B, T * L] with each segment in a row of its own, [B * T, L].

  The segment that turn t of row b opened is row `b * T + t`.
  """
  b, t = breaks.shape
  out = np.full((b * t, x.shape[1] // t), fill, x.dtype)
  for row in range(b):
    for turn, begin, end in _segments(breaks[row], int(length[row])):
      out[row * t + turn, : end - begin] = x[row, begin:end]
  return out


def along(
  x: np.ndarray, breaks: np.ndarray, length: np.ndarray, row: int
) -> np.ndarray:
  """Returns what `apart` took apart of one row, [T * L]."""
  t = breaks.shape[1]
  out = np.zeros(t * x.shape[1], x.dtype)
  for turn, begin, end in _segments(breaks[row], int(length[row])):
    out[begin:end] = x[row * t + turn, : end - begin]
  return out


def _segments(breaks: np.ndarray, length: int) -> list[tuple[int, int, int]]:
  """Each segment of a row: the turn that opened it, its begin and end."""
  turns = np.flatnonzero(breaks >= 0).tolist()
  begins = breaks[turns].tolist()
  return list(zip(turns, begins, [*begins[1:], length], strict=True))
