"""From what tokens say to the pages that hold them.

Pages are a tree: one has up to `size` tokens, and what comes before them is its
parent's path. A page is written once. What forks inside of a page shares it up
to there for reading, and where it is kept itself, it has a page of its own: a
fork copies one page at the most.

Content is the key, so whatever has the same tokens before it, however it came
about, has the same pages, and what was edited has others.
"""

import bisect
import itertools
from typing import NamedTuple

import numpy as np

from rlx.rollout import pages as pages_lib

_BYTES = 4  # Of a token, high ones first: sorted as bytes is sorted as tokens.


class Found(NamedTuple):
  """The longest prefix that is held: its pages, and how many of its tokens."""

  pages: np.ndarray
  length: int


class New(NamedTuple):
  """A page to be written: with the positions from `start` on."""

  page: int
  start: int


class _Node:
  """A page; the root is none."""

  __slots__ = ("children", "keys", "page", "parent", "text", "used")

  def __init__(self, page: int, text: bytes, parent: "_Node | None"):
    self.page, self.text, self.parent = page, text, parent
    self.keys: list[bytes] = []  # Sorted.
    self.children: dict[bytes, _Node] = {}
    self.used = 0

  def nearest(self, text: bytes) -> tuple["_Node | None", int]:
    """The child with the longest common beginning, and its tokens."""
    place = bisect.bisect_left(self.keys, text)
    best, most = None, 0
    for key in self.keys[max(place - 1, 0) : place + 1]:
      same = common(key, text)
      if same > most:
        best, most = self.children[key], same
    return best, most

  def add(self, child: "_Node") -> None:
    bisect.insort(self.keys, child.text)
    self.children[child.text] = child

  def remove(self, child: "_Node") -> None:
    del self.keys[bisect.bisect_left(self.keys, child.text)]
    del self.children[child.text]


class Prefixes:
  """The tree of pages, of which what was used longest ago makes room.

  Page 0 is never given away: a table that is longer than a sequence ends in it.

  Attributes:
    pages: who holds what; every page of the tree is held once by the tree.
  """

  def __init__(self, num_pages: int, size: int):
    self.size = size
    self.pages, _ = pages_lib.allocate(pages_lib.init(num_pages), 1)
    self._root = _Node(0, b"", None)
    self._held: list[int] = []
    self._clock = itertools.count(1)

  def __len__(self) -> int:
    """How many pages have something in them."""
    return sum(1 for _ in self._nodes())

  def find(self, tokens: np.ndarray) -> Found:
    """Returns the longest prefix of the tokens that is held."""
    ids, same, _ = self._find(_text(tokens))
    return Found(np.array(ids, np.int64), same)

  def hold(self, ids: np.ndarray) -> None:
    """Keeps pages from being given away until `settle`."""
    self.pages = pages_lib.share(self.pages, ids)
    self._held += np.asarray(ids).tolist()

  def settle(self) -> None:
    """Lets go of all that was held or added since the last time."""
    self.pages = pages_lib.release(self.pages, np.array(self._held, np.int64))
    self._held = []

  def add(self, tokens: np.ndarray) -> list[New] | None:
    """Returns the pages to be written for all of these tokens to be held.

    They count as written from now on, and they and what is before them stay
    until `settle`. None if they find no room.
    """
    text = _text(tokens)
    ids, same, node = self._find(text)
    if same * _BYTES == len(text):
      return []
    width = self.size * _BYTES
    begin = same // self.size * self.size
    self.hold(np.array(ids[: begin // self.size], np.int64))
    pieces = [
      text[at : at + width] for at in range(begin * _BYTES, len(text), width)
    ]
    if not self._make_room(len(pieces)):
      return None
    self.pages, free = pages_lib.allocate(self.pages, len(pieces))
    now = next(self._clock)
    for page, piece in zip(free.tolist(), pieces, strict=True):
      self._replace_beginning(node, piece)
      child = _Node(page, piece, node)
      child.used = now
      node.add(child)
      node = child
    self.hold(free)
    starts = range(begin, begin + len(pieces) * self.size, self.size)
    return [New(*x) for x in zip(free.tolist(), starts, strict=True)]

  def _find(self, text: bytes) -> tuple[list[int], int, _Node]:
    """Returns pages, how many tokens, and the last page that is whole."""
    now, width = next(self._clock), self.size * _BYTES
    node, same, ids = self._root, 0, []
    while same * _BYTES < len(text):
      piece = text[same * _BYTES : same * _BYTES + width]
      child, more = node.nearest(piece)
      if child is None:
        break
      child.used = now
      ids.append(child.page)
      same += more
      if more < self.size:
        break
      node = child
    return ids, same, node

  def _replace_beginning(self, node: _Node, text: bytes) -> None:
    """Drops a page that a new one begins with: what it has is there too."""
    place = bisect.bisect_left(node.keys, text)
    if place and text.startswith(node.keys[place - 1]):
      self._drop(node.children[node.keys[place - 1]])

  def _make_room(self, num: int) -> bool:
    """Returns whether there are so many free pages now."""
    while (free := pages_lib.num_free(self.pages)) < num:
      # Some more than needed, as looking for them takes time.
      wanted = max(num - free, len(self.pages.refs) // 16)
      count = self.pages.refs
      idle = [x for x in self._nodes() if not x.keys and count[x.page] == 1]
      if not idle:
        return False
      for node in sorted(idle, key=lambda x: x.used)[:wanted]:
        self._drop(node)
    return True

  def _drop(self, node: _Node) -> None:
    assert node.parent is not None
    node.parent.remove(node)
    self.pages = pages_lib.release(self.pages, np.array([node.page]))

  def _nodes(self):
    stack = [*self._root.children.values()]
    while stack:
      node = stack.pop()
      stack += node.children.values()
      yield node


def _text(tokens: np.ndarray) -> bytes:
  return np.asarray(tokens).astype(">i4").tobytes()


def common(one: bytes, other: bytes) -> int:
  """How many tokens the beginnings of two texts have in common."""
  size = min(len(one), len(other))
  differ = int.from_bytes(one[:size]) ^ int.from_bytes(other[:size])
  return (size - -(-differ.bit_length() // 8)) // _BYTES
