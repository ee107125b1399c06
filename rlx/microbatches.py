"""Which rows go through the model together, and how long they are padded.

Rows of a batch have ragged lengths. Long ones go together and short ones go
together, each micro-batch padded only to the smallest of a few lengths. Losses
and gradients are weighted sums, so how rows are put together changes nothing
but speed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class MicroBatch(NamedTuple):
  """Rows of one pass.

  Attributes:
    rows: int32 [N], indices into the batch. Those that only fill up the shape
      are out of its range: gathers clip them, scatters drop them.
    length: tokens that each row is cut to.
  """

  rows: np.ndarray
  length: int


class Sizes(NamedTuple):
  """The few shapes that micro-batches have: `rows[i]` of `lengths[i]`."""

  lengths: tuple[int, ...]
  rows: tuple[int, ...]


def sizes(
  length: int, rows: int, tokens: int, parts: int, num_lengths: int = 4
) -> Sizes:
  """Returns the shapes for a batch of `rows` rows of at most `length` tokens.

  Args:
    tokens: of one micro-batch, at most, but for a row a device; 0 for the whole
      batch in one. Of a batch of the longest rows they leave a sixteenth empty
      at most, if a few rows less in each will do it.
    parts: number of devices the rows are split over.
    num_lengths: how many lengths; each is compiled once.
  """
  num = max(1, min(num_lengths, length // 32))
  step = -(-length // num)
  lengths = sorted({min(step * (i + 1), length) for i in range(num)})
  return Sizes(
    tuple(lengths),
    tuple(fit(rows, padded, tokens, parts) for padded in lengths),
  )


def fit(rows: int, padded: int, tokens: int, parts: int) -> int:
  """Returns how many of `rows` rows of `padded` tokens go together.

  See `sizes` for `tokens` and `parts`.
  """
  whole = -(-rows // parts) * parts
  if not tokens:
    return whole
  most = max(tokens // padded // parts, 1) * parts
  least = -(-whole // most)
  rows_of = lambda num: -(-whole // (num * parts)) * parts
  spare = lambda num: num * rows_of(num) - whole
  counts = range(least, 2 * least)
  good = (num for num in counts if spare(num) <= whole / 16)
  return rows_of(next(good, least))


def split(lengths: np.ndarray, shapes: Sizes) -> list[MicroBatch]:
  """Returns micro-batches that hold every row of `lengths` exactly once.

  Rows of length 0 have nothing to teach and are left out.
  """
  order = np.argsort(-lengths, kind="stable")
  order = order[lengths[order] > 0]
  out = []
  while len(order):
    bucket = int(np.searchsorted(shapes.lengths, lengths[order[0]]))
    size = shapes.rows[bucket]
    taken, order = order[:size], order[size:]
    rows = np.full(size, len(lengths), np.int32)
    rows[: len(taken)] = taken
    out.append(MicroBatch(rows, shapes.lengths[bucket]))
  return out


def minibatches(
  num_rows: int, parts: int, rng: np.random.Generator
) -> Sequence[np.ndarray]:
  """Returns `parts` disjoint bool masks [B], together all rows, at random."""
  if parts == 1:
    return [np.ones(num_rows, bool)]
  slot = rng.permutation(num_rows) * parts // num_rows
  return [slot == part for part in range(parts)]
