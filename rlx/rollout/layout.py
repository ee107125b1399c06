"""Which prompts look at one trunk, and what each row has of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import engine, pages, prefixes
from rlx.rollout import memory as memories

# Prompts that may share a trunk.
SHARE = 8


class Layout(NamedTuple):
  """Prompts dealt out to trunks.

  Attributes:
    trunks: the prompts of each; its first is what it holds.
    num: trunks there are room for.
    most: prompts of one.
    cut: int [P], tokens that a prompt has of its trunk.
    own: most pages that a row has of its own.
  """

  trunks: list[list[int]]
  num: int
  most: int
  cut: np.ndarray
  own: int


def arrange(
  prompts: Sequence[np.ndarray], size: int, most: int, own: int
) -> Layout | None:
  """Returns prompts dealt out to trunks, or None if that cannot be.

  A trunk has `most` prompts, neighbours in alphabetical order, and holds the
  first. Of each of the others it is that much that they have in common; what
  the last token stands behind further, in whole pages, is the rows' own. There
  is room for as many trunks as it takes if all are full.

  Args:
    size: of a page.
    own: pages that a row may have of its own.
  """
  most = min(most, len(prompts))
  num = -(-len(prompts) // most)
  cut = np.array([len(x) - 1 for x in prompts], np.int32)
  texts = [x.astype(">i4").tobytes() for x in prompts]
  trunks: list[list[int]] = []
  # Backwards, what a prompt is a prefix of comes right before it.
  for number in sorted(range(len(texts)), key=lambda k: texts[k], reverse=True):
    last, shared = trunks[-1] if trunks else [], 0
    if last:  # The last token of a trunk's first is not in it.
      same = prefixes.common(texts[last[0]], texts[number])
      shared = min(same, len(prompts[last[0]]) - 1)
    behind = 0
    if shared < cut[number]:
      behind = pages.needed(int(cut[number]), size) - shared // size
    if 0 < len(last) < most and behind <= own:
      last.append(number)
      cut[number] = shared // size * size if behind else cut[number]
    elif len(trunks) == num:
      return None
    else:
      trunks.append([number])
  return Layout(trunks, num, most, cut, own)


def ways(shape: engine.Shape, memory: memories.Memory):
  """Returns what is tried, in order: prompts of a trunk, and own pages."""
  ways = [(SHARE, 0), (1, 0)]
  if shape.num_samples <= SHARE:  # Else their copies take more than trunks.
    own = -(-memory.width // SHARE)
    ways.insert(1, (SHARE, own))
  return ways


class Size(NamedTuple):
  """What is compiled for a way to lay prompts out.

  Attributes:
    rows: slots for rows.
    trunks: rows of the trunk.
    own: pages of a row's cache; 0 if they are not loaded.
    before: of these, those that it does not write in.
    most: prompts of a trunk.
  """

  rows: int
  trunks: int
  own: int
  before: int
  most: int


def sizes(ways, shape: engine.Shape, size: int, devices: int) -> list[Size]:
  """Returns the size of each way that comes out even over the devices."""
  found = []
  for most, own in ways:
    most = min(most, shape.num_prompts)
    num, fork = -(-shape.num_prompts // most), most * shape.num_samples
    if num * fork % devices == 0:
      trunks = num if num % devices == 0 else num * fork
      pages_ = own + pages.needed(shape.cache_length, size) if own else 0
      found.append(Size(num * fork, trunks, pages_, own, most))
  return found


def tables(layout, prompts, memory, tail, slot, alone, ready):
  """Returns the pages of trunks, and those that rows have of their own.

  Args:
    tail: slots that rows write in.
    slot: int [P, G], of each row.
    alone: each row is to have its trunk for itself.
    ready: pages of the prompts that are there.
  """
  size, fork = memory.size, layout.most * slot.shape[1]
  shape = layout.num, width(prompts, memory)
  trunk = memories.Table(np.zeros(shape, np.int32), np.zeros(layout.num, bool))
  for number, (head, *_) in enumerate(layout.trunks):
    if head in ready:
      trunk.pages[number, : len(ready[head])] = ready[head]
      trunk.which[number] = True
  if alone:
    trunk = memories.Table(*(np.repeat(x, fork, 0) for x in trunk))
  if not layout.own:
    return [trunk]
  rows = layout.num * fork
  shape = rows, layout.own + pages.needed(tail, size)
  own = memories.Table(np.zeros(shape, np.int32), np.zeros(rows, bool))
  for number, ids in ready.items():
    if layout.cut[number] < len(prompts[number]) - 1:
      mine = ids[layout.cut[number] // size :]
      own.pages[slot[number], : len(mine)] = mine
      own.which[slot[number]] = True
  return [trunk, own]


def width(prompts: Sequence[np.ndarray], memory: memories.Memory) -> int:
  """Returns the pages of the trunks of these prompts."""
  need = max(pages.needed(len(x) - 1, memory.size) for x in prompts)
  return next(x for x in memory.widths if x >= need)


def slots(layout: Layout, num: int, group: int):
  """Returns the slot of each row, and the row of each slot or -1."""
  slot = np.zeros((num, group), np.int32)
  for trunk, prompts in enumerate(layout.trunks):
    for place, prompt in enumerate(prompts):
      slot[prompt] = (trunk * layout.most + place) * group + np.arange(group)
  row = np.full(layout.num * layout.most * group, -1, np.int64)
  slot = slot.reshape(-1)
  row[slot] = np.arange(len(slot))
  return slot, row
