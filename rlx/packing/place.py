"""Which pack and block each row of a walk goes to."""

from typing import NamedTuple

from rlx.packing import shapes, strips
from rlx.packing.walk import Plain, Walk


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
    found = strips.Strips(order, shape)
    out = [at for at in range(len(order.rows)) if not found.put(at)]
    each = zip(found.members, found.depths, found.used, strict=True)
    return [
      Placed(0, members, [0] * len(members), depths, used)
      for members, depths, used in each
    ], out
  packs, out = [], []
  rows = order.plain()
  blocks = _Blocks(rows, shape)
  for at in range(len(order.rows)):
    if blocks.add(at):
      continue
    packs.append(blocks.placed())
    blocks = _Blocks(rows, shape)
    if not blocks.add(at):
      out.append(at)
  packs.append(blocks.placed())
  return [pack for pack in packs if pack.members], out


class _Blocks:
  """The blocks of a pack under way, behind one trunk."""

  def __init__(self, rows: Plain, shape: shapes.Shape):
    self._rows, self._shape = rows, shape
    self._trunk = shape.trunk
    self._clear()

  def add(self, at: int) -> bool:
    """Puts a row in, the trunk being what all have in common; or does not."""
    kept = self._members, self._trunk
    least = self._rows.need[at]
    if self._members:
      least = min(least, self._between(self._members[0], at))
    shorter = self._trunk - min(self._trunk, least)
    if self._members and not shorter:
      return self._put(at)
    # What the trunk loses every block gains.
    if self._members and max(self._used) + shorter > self._shape.block:
      return False
    self._trunk -= shorter
    if self._again([*kept[0], at]):
      return True
    self._trunk = kept[1]
    self._again(kept[0])
    return False

  def placed(self) -> Placed:
    """Returns what was put in."""
    fill = max(self._used)
    return Placed(self._trunk, self._members, self._blocks, self._depths, fill)

  def _put(self, at: int) -> bool:
    """Puts a row in if there is room; rows come in the order of the walk."""
    rows, shape = self._rows, self._shape
    if self._seen is not None:
      between = self._between(self._seen, at)
      self._reach = [min(reach, between) for reach in self._reach]
    self._seen = at
    if len(self._members) == shape.rows:
      return False
    need = rows.need[at]
    depths = [min(max(reach, self._trunk), need) for reach in self._reach]
    ways = [
      (need - depth + used / (shape.block + 1), block)
      for block, (depth, used) in enumerate(
        zip(depths, self._used, strict=True)
      )
      if used + need - depth <= shape.block
    ]
    for _, block in sorted(ways):
      new = self._new_targets(at, block, depths[block])
      if self._targets + new <= shape.targets:
        self._take(at, block, depths[block], new)
        return True
    return False

  def _clear(self) -> None:
    count = self._shape.blocks
    self._members: list[int] = []
    self._blocks: list[int] = []
    self._depths: list[int] = []
    self._seen: int | None = None
    self._used = [0] * count
    # What the last row of each block shares with the next of the walk.
    self._reach = [0] * count
    self._mate = [-1] * count
    self._targets = 0

  def _again(self, members: list[int]) -> bool:
    self._clear()
    return all([self._put(at) for at in members])

  def _between(self, before: int, at: int) -> int:
    return min(self._rows.shared[before + 1 : at + 1])

  def _new_targets(self, at: int, block: int, depth: int) -> int:
    if not self._members:
      return self._rows.num_chosen[at]
    mate = self._mate[block] if self._mate[block] >= 0 else self._members[-1]
    return self._rows.new_targets(at, depth, mate)

  def _take(self, at: int, block: int, depth: int, new: int) -> None:
    need = self._rows.need[at]
    self._members.append(at)
    self._blocks.append(block)
    self._depths.append(depth)
    self._used[block] += need - depth
    self._reach[block] = need
    self._mate[block] = at
    self._targets += new
