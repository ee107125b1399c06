"""The rows of a batch in the order of a walk through their trie."""

import itertools
from typing import NamedTuple

import numpy as np


class Walk(NamedTuple):
  """Rows that begin alike stand together.

  What two rows share is the least of `shared` on the way between them.

  Attributes:
    rows: indices into the batch.
    need: tokens of each that have a column: those before its last chosen one.
    shared: of these, how many each has in common with the row before it.
    chosen: bool [rows, L], what is predicted: nothing predicts a first token.
  """

  rows: np.ndarray
  need: np.ndarray
  shared: np.ndarray
  chosen: np.ndarray

  def plain(self) -> "Plain":
    """Returns the same for reading number by number."""
    return Plain(
      self.need.tolist(),
      self.shared.tolist(),
      self.chosen.sum(1).tolist(),
      self.chosen.argmax(1).tolist(),
      self.chosen,
    )


class Plain(NamedTuple):
  """A walk as lists, which Python reads faster than arrays.

  Attributes:
    need, shared, chosen: as of a walk.
    num_chosen: chosen tokens of each row, and
    first: the first of them; 0 for none.
  """

  need: list[int]
  shared: list[int]
  num_chosen: list[int]
  first: list[int]
  chosen: np.ndarray

  def new_targets(self, at: int, depth: int, mate: int) -> int:
    """At most how many of a row's chosen tokens nobody else predicts.

    Args:
      depth: tokens that it shares with `mate`, a row before it.
    """
    if self.first[at] >= depth:
      return self.num_chosen[at]
    both = self.chosen[at, :depth] & self.chosen[mate, :depth]
    return self.num_chosen[at] - int(np.count_nonzero(both))


def walk(tokens: np.ndarray, mask: np.ndarray) -> Walk:
  """Returns the walk through the rows of which a token was chosen."""
  rows = np.flatnonzero(mask.any(1))
  length = tokens.shape[1]
  chosen = mask[rows]
  need = length - 1 - np.argmax(chosen[:, ::-1], axis=1)
  inside = np.arange(length)[None] < need[:, None]
  keys = np.where(inside, tokens[rows].astype(np.int64) + 1, 0).astype(">u4")
  # Big-endian bytes are in the order of their numbers.
  text = np.ascontiguousarray(keys).view(f"V{4 * length}")[:, 0]
  order = np.argsort(text, kind="stable")
  keys, need = keys[order], need[order]
  apart = keys[1:] != keys[:-1]
  first = np.where(apart.any(1), apart.argmax(1), length)
  least = np.minimum(need[1:], need[:-1])
  shared = np.append(np.zeros(min(len(rows), 1), int), np.minimum(first, least))
  turns, shared = _longest_first(need, shared)
  order, need = order[turns], need[turns]
  chosen = chosen[order]
  chosen[:, 0] = False
  return Walk(rows[order], need, shared, chosen)


def _longest_first(need, shared):
  """Takes the subtrees at the root by their longest rows: they pack better."""
  if len(need) < 2:
    return np.arange(len(need)), shared
  level = shared[1:].min()
  cuts = np.append(0, 1 + np.flatnonzero(shared[1:] == level))
  ends = np.append(cuts[1:], len(need))
  longest = np.maximum.reduceat(need, cuts)
  turns = np.concatenate(
    [
      np.arange(int(cuts[i]), int(ends[i]))
      for i in np.argsort(-longest, kind="stable").tolist()
    ]
  )
  shared = shared.copy()
  shared[cuts] = level
  shared = shared[turns]
  shared[0] = 0
  return turns, shared


def part(order: Walk, places: np.ndarray) -> Walk:
  """Returns the walk through some of its rows; `places` increase."""
  shared = [
    order.shared[before + 1 : at + 1].min()
    for before, at in itertools.pairwise(places.tolist())
  ]
  return Walk(
    order.rows[places],
    order.need[places],
    np.array([0, *shared]),
    order.chosen[places],
  )
