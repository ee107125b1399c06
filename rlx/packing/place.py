"""Which pack and block each row of a walk goes to."""

from typing import NamedTuple

import numpy as np

from rlx.packing import shapes
from rlx.packing.walk import Walk


class Placed(NamedTuple):
  """What stands in one pack.

  Attributes:
    trunk: tokens that its rows begin with, in the trunk.
    members: places in the walk, increasing.
    blocks: the block of each.
    depths: tokens of each that have a column already, in the trunk or from the
      member before it in its block.
    fill: columns of the fullest block.
  """

  trunk: int
  members: list[int]
  blocks: list[int]
  depths: list[int]
  fill: int


def place(order: Walk, shape: shapes.Shape) -> tuple[list[Placed], list[int]]:
  """Returns packs, and the places in the walk of rows that fit into none.

  Without a trunk all packs are open at once, and a row goes where most of it
  stands already, or to the fullest that has room. With one, a pack is closed
  when the next row does not fit, and its blocks are filled evenly.
  """
  if not shape.trunk:
    bins = _Bins(order, shape, alone=True)
    out = [at for at in range(len(order.rows)) if not bins.put(at)]
    return bins.packs(), out
  packs, out = [], []
  bins = _Bins(order, shape)
  for at in range(len(order.rows)):
    if bins.add(at):
      continue
    packs += bins.packs()
    bins = _Bins(order, shape)
    if not bins.add(at):
      out.append(at)
  return packs + bins.packs(), out


class _Bins:
  """Blocks under way: of one pack, or `alone`, each a pack of its own."""

  def __init__(self, order: Walk, shape: shapes.Shape, alone: bool = False):
    self._order, self._shape, self._alone = order, shape, alone
    self._trunk = shape.trunk
    self._clear()

  def add(self, at: int) -> bool:
    """Puts a row in, the trunk being what all have in common; or does not."""
    kept = self._members, self._trunk
    least = self._order.need[at]
    if self._members:
      least = min(least, self._between(self._members[0], at))
    shorter = self._trunk - int(min(self._trunk, least))
    if self._members and not shorter:
      return self.put(at)
    # What the trunk loses every block gains.
    if self._members and self._used.max() + shorter > self._shape.block:
      return False
    self._trunk -= shorter
    if self._again([*kept[0], at]):
      return True
    self._trunk = kept[1]
    self._again(kept[0])
    return False

  def put(self, at: int) -> bool:
    """Puts a row in if there is room; rows come in the order of the walk."""
    order, shape = self._order, self._shape
    if self._seen is not None:
      self._reach = np.minimum(self._reach, self._between(self._seen, at))
    self._seen = at
    need = int(order.need[at])
    depth = np.minimum(np.maximum(self._reach, self._trunk), need)
    room = self._used + need - depth <= shape.block
    room &= self._count < shape.rows
    share = self._used / (shape.block + 1)
    score = need - depth + (1 - share if self._alone else share)
    score = np.where(room, score, np.inf)
    for block in np.argsort(score, kind="stable")[: room.sum()].tolist():
      new = self._new_targets(at, block, int(depth[block]))
      if self._targets[block] + new <= shape.targets:
        self._take(at, block, int(depth[block]), new)
        return True
    return False

  def packs(self) -> list[Placed]:
    """Returns what was put in."""
    if not self._members:
      return []
    members, blocks, depths = map(
      np.array, (self._members, self._blocks, self._depths)
    )
    if not self._alone:
      return [self._placed(slice(None), members, blocks, depths)]
    return [
      self._placed(blocks == block, members, blocks * 0, depths)
      for block in np.unique(blocks)
    ]

  def _placed(self, which, members, blocks, depths):
    members, blocks, depths = members[which], blocks[which], depths[which]
    used = np.zeros(self._shape.blocks, int)
    np.add.at(used, blocks, self._order.need[members] - depths)
    return Placed(
      self._trunk,
      members.tolist(),
      blocks.tolist(),
      depths.tolist(),
      int(used.max()),
    )

  def _clear(self) -> None:
    count = len(self._order.rows) if self._alone else self._shape.blocks
    self._members: list[int] = []
    self._blocks: list[int] = []
    self._depths: list[int] = []
    self._seen: int | None = None
    self._used = np.zeros(count, int)
    # What the last row of each block shares with the next of the walk.
    self._reach = np.zeros(count, int)
    self._mate = np.full(count, -1)
    self._targets = np.zeros(count, int)
    self._count = np.zeros(count, int)

  def _again(self, members: list[int]) -> bool:
    self._clear()
    return all([self.put(at) for at in members])

  def _between(self, before: int, at: int) -> int:
    return int(self._order.shared[before + 1 : at + 1].min())

  def _new_targets(self, at: int, block: int, depth: int) -> int:
    """At most how many of the row's chosen tokens nobody else predicts."""
    chosen, mate = self._order.chosen, int(self._mate[block])
    if mate < 0 and self._members and not self._alone:
      mate = self._members[-1]
    known = chosen[at, :depth] & chosen[mate, :depth] if mate >= 0 else 0
    return int(chosen[at].sum() - np.sum(known))

  def _take(self, at, block, depth, new) -> None:
    self._members.append(at)
    self._blocks.append(block)
    self._depths.append(depth)
    self._used[block] += self._order.need[at] - depth
    self._reach[block] = self._order.need[at]
    self._mate[block] = at
    whose = block if self._alone else slice(None)
    self._targets[whose] += new
    self._count[whose] += 1
