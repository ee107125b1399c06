"""The micro-batches of a batch, put together in the way that costs least."""

from collections.abc import Sequence

import numpy as np

from rlx.packing import arrays, place, shapes
from rlx.packing import walk as walks

# A way that costs so many times the distinct tokens is not improved upon.
ENOUGH = 1.1

Micro = tuple[shapes.Shape, list[place.Placed]]


def split(
  tokens: np.ndarray, mask: np.ndarray, known: shapes.Shapes
) -> list[tuple[arrays.Pack, shapes.Shape]]:
  """Returns packs that hold every row of which a token is chosen once.

  Args:
    tokens: int [B, L].
    mask: bool [B, L], the tokens that the policy chose.

  Raises:
    ValueError: a row has more chosen tokens than the shapes were made for.
  """
  order = walks.walk(tokens, mask)
  if not len(order.rows):
    return []
  best = _best(order, known)
  return [
    (arrays.fill(shape, order, packs, tokens), shape) for shape, packs in best
  ]


def _best(order: walks.Walk, known: shapes.Shapes) -> list[Micro]:
  """The cheapest way; the first that costs little more than it must will do."""
  least = int((order.need - order.shared).sum())
  ways = []
  tree = () if known.tree is None else (known.tree,)
  for wanted in filter(None, (known.groups, tree, (known.rows,))):
    way = _way(order, wanted, known)
    spent = _cost(way, known.width)
    if spent <= ENOUGH * least:
      return way
    ways.append((spent, len(ways), way))
  return min(ways)[-1]


def _way(order, wanted: Sequence[shapes.Shape], known) -> list[Micro]:
  """Micro-batches of these shapes, shortest blocks first, where rows fit."""
  packs, left = place.place(order, wanted[-1])
  out = _batches(packs, wanted)
  if left and wanted[-1] != known.rows:
    rest = walks.part(order, np.array(left))
    packs, left_again = place.place(rest, known.rows)
    packs = [
      each._replace(members=[left[at] for at in each.members]) for each in packs
    ]
    out += _batches(packs, (known.rows,))
    left = [left[at] for at in left_again]
  if left:
    row = int(order.rows[left[0]])
    raise ValueError(
      f"row {row} of the batch has {int(order.chosen[left[0]].sum())} chosen "
      f"tokens; the learner was made for max_chosen={known.rows.targets}"
    )
  return out


def _batches(packs, wanted) -> list[Micro]:
  """Packs with the longest blocks first, each micro-batch as long as those."""
  packs = sorted(packs, key=lambda each: -each.fill)
  out = []
  while packs:
    fits = (shape for shape in wanted if packs[0].fill <= shape.block)
    shape = next(fits)
    out.append((shape, packs[: shape.packs]))
    packs = packs[shape.packs :]
  return out


def _cost(way: list[Micro], width: int) -> float:
  return sum(shapes.cost(shape, width) for shape, _ in way)
