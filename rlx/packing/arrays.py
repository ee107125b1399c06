"""Packs as arrays: columns, who sees whom, and what predicts which token."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rlx.packing import place, shapes
from rlx.packing.walk import Walk


class Pack(NamedTuple):
  """A micro-batch of packs: int32, of NumPy or on the devices.

  Axes: P packs, W columns, M targets.

  Attributes:
    rows: [P * S], indices into the batch, S of each pack; those that only fill
      up are out of its range.
    tokens, positions, segments, last: [P W], as `rlx.policy.Policy.apply` wants
      them: every token is a node.
    source: [P M], the column that predicts, and
    target: [P M], the token that is predicted from it.
    slot: [P, S * L], which of its pack's M log-probabilities is that of token t
      of its row s; M for none.
  """

  rows: Any
  tokens: Any
  positions: Any
  segments: Any
  last: Any
  source: Any
  target: Any
  slot: Any


def blank(shape: shapes.Shape, rows: int, length: int) -> Pack:
  """Returns packs without a token, for batches of `[rows, length]`."""
  zeros = lambda width: np.zeros((shape.packs, width), np.int32)
  return Pack(
    rows=np.full(shape.packs * shape.rows, rows, np.int32),
    tokens=zeros(shape.columns),
    positions=zeros(shape.columns),
    segments=zeros(shape.columns),
    last=zeros(shape.columns),
    source=zeros(shape.targets),
    target=zeros(shape.targets),
    slot=zeros(shape.rows * length) + np.int32(shape.targets),
  )


def fill(
  shape: shapes.Shape,
  order: Walk,
  packs: Sequence[place.Placed],
  tokens: np.ndarray,
) -> Pack:
  """Returns the arrays of these packs; `tokens` [B L] are the batch's."""
  out = blank(shape, *tokens.shape)
  for number, placed in enumerate(packs):
    _Writer(shape, order, tokens, out, number).write(placed)
  return out


class _Writer:
  """Writes one pack, column by column in the order of a walk."""

  def __init__(self, shape, order, tokens, out: Pack, number: int):
    self._shape, self._order, self._tokens = shape, order, tokens
    self._rows = out.rows.reshape(-1, shape.rows)[number]
    self._slot = out.slot[number].reshape(shape.rows, -1)
    self._columns = [x[number] for x in out[1:5]]
    self._source, self._target = out.source[number], out.target[number]
    self._count = 0  # Columns so far: numbers in preorder begin at 1.
    self._targets = 0
    # Which target each column's token is; -1 for none.
    self._known = np.full(shape.columns, -1)

  def write(self, placed: place.Placed) -> None:
    order, shape = self._order, self._shape
    path = np.zeros(self._tokens.shape[1], int)
    first = self._tokens[order.rows[placed.members[0]]]
    self._append(path, first, 0, placed.trunk, 0)
    blocks = np.array(placed.blocks)
    for block in range(shape.blocks):
      end = shape.trunk + block * shape.block
      before = None
      for place_ in np.flatnonzero(blocks == block).tolist():
        at, depth = placed.members[place_], placed.depths[place_]
        need = int(order.need[at])
        if before is not None:
          self._close(path[depth:before])
        row = self._tokens[order.rows[at]]
        end = self._append(path, row, depth, need, end)
        self._predict(path, row, at, place_)
        before = need
      if before is not None:
        self._close(path[placed.trunk : before])
    self._close(path[: placed.trunk])

  def _append(self, path, row, start, stop, column) -> int:
    """Gives a row's tokens `start` to `stop` columns; returns the next one."""
    here = slice(column, column + stop - start)
    tokens, positions, segments, _ = self._columns
    tokens[here] = row[start:stop]
    positions[here] = np.arange(start, stop)
    segments[here] = self._count + 1 + np.arange(stop - start)
    path[start:stop] = np.arange(here.start, here.stop)
    self._count += stop - start
    return here.stop

  def _close(self, columns: np.ndarray) -> None:
    """Nothing more comes below these."""
    self._columns[3][columns] = self._count

  def _predict(self, path, row, at: int, member: int) -> None:
    chosen = np.flatnonzero(self._order.chosen[at])
    need = self._order.need[at]
    self._rows[member] = self._order.rows[at]
    if not len(chosen):
      return
    # What has a column is predicted once, whoever chose it.
    inside = chosen[chosen < need]
    columns = path[inside]
    new = inside[self._known[columns] < 0]
    fresh = np.append(new, need)
    slots = self._targets + np.arange(len(fresh))
    self._source[slots] = path[fresh - 1]
    self._target[slots] = row[fresh]
    self._known[path[new]] = slots[:-1]
    self._slot[member, inside] = self._known[columns]
    self._slot[member, need] = slots[-1]
    self._targets += len(fresh)
