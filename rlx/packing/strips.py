"""Packs without a trunk: which rows stand behind each other in one block."""

import bisect

from rlx.packing import shapes
from rlx.packing.walk import Walk

# Strips of a level that are tried, fullest first, before less is shared.
_TRIES = 256


class Strips:
  """All strips are open at once, and rows come in the order of the walk.

  A row goes where most of it stands already, among those to the fullest that
  has room for it. What the last row of a strip shares with the next of the walk
  only falls until the strip is taken again, so that strips that share alike are
  kept together, as a stack whose top shares most, each sorted by its columns.
  """

  def __init__(self, order: Walk, shape: shapes.Shape):
    self._rows, self._shape = order.plain(), shape
    # Below it all strips share alike in the end, and what each row adds at least.
    self._floor = min(self._rows.shared[1:], default=0)
    own = order.chosen[:, self._floor :].sum(1)
    self._fewest = int(own.min(initial=shape.targets))
    # (what is shared, sorted [(columns, -strip)]), sharing more and more.
    self._levels: list[tuple[int, list[tuple[int, int]]]] = []
    self._targets: list[int] = []
    self.members: list[list[int]] = []
    self.depths: list[list[int]] = []
    self.used: list[int] = []

  def put(self, at: int) -> bool:
    """Puts a row in; False if it is too large for a strip of its own."""
    self._lower(self._rows.shared[at])
    need = self._rows.need[at]
    for number in range(len(self._levels) - 1, -1, -1):
      depth, level = self._levels[number]
      room = self._shape.block - (need - depth)
      end = bisect.bisect_right(level, (room, 1))
      for place in range(end - 1, max(end - 1 - _TRIES, -1), -1):
        strip = -level[place][1]
        new = self._rows.new_targets(at, depth, self.members[strip][-1])
        if self._targets[strip] + new <= self._shape.targets:
          del level[place]
          self._take(at, strip, depth, new)
          return True
    new = self._rows.num_chosen[at]
    if need > self._shape.block or new > self._shape.targets:
      return False
    for each in (self.members, self.depths):
      each.append([])
    self.used.append(0)
    self._targets.append(0)
    self._take(at, len(self.used) - 1, 0, new)
    return True

  def _lower(self, shared: int) -> None:
    """Nothing shares more with the next row than the row before it does."""
    levels = self._levels
    most = self._shape.targets - self._fewest
    while levels and levels[-1][0] > shared:
      _, level = levels.pop()
      if shared <= self._floor:
        level = [each for each in level if self._targets[-each[1]] <= most]
      if not levels or levels[-1][0] < shared:
        levels.append((shared, level))
        return
      small, large = sorted((level, levels[-1][1]), key=len)
      for each in small:
        bisect.insort(large, each)
      levels[-1] = (levels[-1][0], large)

  def _take(self, at: int, strip: int, depth: int, new: int) -> None:
    need = self._rows.need[at]
    self.members[strip].append(at)
    self.depths[strip].append(depth)
    self.used[strip] += need - depth
    self._targets[strip] += new
    if len(self.members[strip]) == self._shape.rows:
      return
    if not self._levels or self._levels[-1][0] < need:
      self._levels.append((need, []))
    bisect.insort(self._levels[-1][1], (self.used[strip], -strip))
