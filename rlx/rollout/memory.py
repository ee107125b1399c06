"""What the policy has read already: keys and values in pages, found by content.

The pages lie on the device, and which has what is known on the host. Nothing
that is drawn depends on how many there are: what finds no room is read again.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from rlx import policy as policies
from rlx import sharding
from rlx.rollout import pages as pages_lib
from rlx.rollout import paging, prefixes

_CHUNK = 256  # Most tokens of a prefix that are read at once.
_SUFFIX = 32  # What is no longer than this is read by a program of its own.


class Page(NamedTuple):
  """A page to be written from a row, with its positions from `start` on."""

  page: int
  start: int
  row: int


class Table(NamedTuple):
  """What is loaded: int [T, P] pages, and bool [T], the rows it is about."""

  pages: np.ndarray
  which: np.ndarray


class Memory:
  """The pool, and the prefixes in it, of one version of the parameters.

  Whoever asks with other parameters finds it empty.
  """

  def __init__(
    self,
    policy: policies.Policy,
    *,
    length: int,
    size: int,
    num_pages: int,
    rows: int,
    mesh: Mesh,
  ):
    """Returns an empty memory; the pool is made when something is kept.

    Args:
      length: tokens of the longest sequence.
      size: tokens of a page.
      num_pages: of the pool, beside one that stays empty.
      rows: prefixes that are read at once.

    Raises:
      ValueError: the longest sequence finds no room.
    """
    devices = sharding.batch_devices(mesh)
    round_up = lambda x: -(-x // devices) * devices
    self.width = pages_lib.needed(length, size)
    # A page that a prefix ends in is copied before it is given away.
    if num_pages < self.width + 1:
      raise ValueError(
        f"rollout.kv_pages={num_pages}: {self.width + 1} pages of {size} tokens "
        f"are needed for one sequence of {length}; 0 is as many as a batch needs"
      )
    self.size, self._mesh = size, mesh
    self._num_pages = round_up(num_pages + 1)
    self._rows = round_up(rows)
    most = min(self.width, max(1, _CHUNK // size))
    least = max(1, _SUFFIX // size)
    self._chunks = sorted({min(least, most), most})
    self._do = paging.compile_(policy, self._num_pages, size, mesh)
    self._params: Any = None
    self._pool: Any = None
    self._index = prefixes.Prefixes(self._num_pages, size)
    self.filled = 0  # Tokens that were read again.

  @property
  def index(self) -> prefixes.Prefixes:
    """Which prefixes there are."""
    return self._index

  @property
  def widths(self) -> list[int]:
    """Pages that trunks may have: a few, for each of which there are programs."""
    if self.width * self.size <= _CHUNK:
      return [self.width]
    return sorted({-(-self.width // part) for part in (1, 2, 4)})

  def forget(self) -> None:
    """Lets go of the parameters and of all that was read."""
    self._params = self._pool = None
    self._index = prefixes.Prefixes(self._num_pages, self.size)

  def keep(
    self,
    params: Any,
    kept: Any,
    rows: np.ndarray,
    tokens: Sequence[np.ndarray],
    most: int,
  ) -> None:
    """Stores what rows have read; what finds no room is left out.

    Args:
      kept: of an engine: its trunk, cache and cut.
      tokens: for each of the rows what it has read, from the first token on.
      most: pages that a program may write, or a quarter of them.
    """
    self._use(params)
    new: list[Page] = []
    # The longest first: it may have the others' pages too.
    asked = zip(rows.tolist(), tokens, strict=True)
    for row, ids in sorted(asked, key=lambda x: -len(x[1])):
      added = self._index.add(ids)
      new += [Page(one.page, one.start, row) for one in added or ()]
    sizes = (-(-most // 4), most)
    while new:
      num = next((x for x in sizes if len(new) <= x), most)
      part, new = new[:num], new[num:]
      self._pool = self._do.store(
        self._pool, *self._written(part, num), kept.cache, kept.trunk, kept.cut
      )
    self._index.settle()

  def load(
    self,
    params: Any,
    prefixes_: Sequence[np.ndarray],
    tables: Callable[[dict[int, np.ndarray]], Sequence[Table]],
  ) -> list[policies.Cache]:
    """Returns prefixes as caches, of which what is missing is read.

    Args:
      tables: from the pages of those prefixes that are there to what is loaded.
        It is asked again while some are not, and the rest is left as it was.
    """
    self._use(params)
    todo = sorted(enumerate(prefixes_), key=lambda x: -len(x[1]))
    caches: list[policies.Cache] = []
    while todo or not caches:
      ready, rest = self._prepare(todo)
      if todo and not ready:  # Together they find no room.
        self._index.settle()
        ready, rest = self._prepare(todo[:1])
        rest += todo[1:]
      asked = tables(ready)
      new = [
        self._do.load(self._pool, paging.place(self._mesh, x.pages))
        for x in asked
      ]
      if caches:
        which = [paging.place(self._mesh, x.which) for x in asked]
        new = list(map(self._do.merge, caches, new, which))
      caches, todo = new, rest
      self._index.settle()
    return caches

  def _use(self, params: Any) -> None:
    if params is not self._params:
      self.forget()
      self._params = params
    if self._pool is None:
      self._pool = self._do.init()

  def _prepare(self, todo):
    """Reads what prefixes lack, and holds their pages.

    Returns the pages of those that are whole, and those that found no room.
    """
    ready: dict[int, np.ndarray] = {}
    late: list[tuple[int, np.ndarray]] = []
    while todo:
      again: list[tuple[int, np.ndarray]] = []
      batch: list[tuple[np.ndarray, prefixes.Found, list[prefixes.New]]] = []
      fresh: set[int] = set()  # What this round will have written.
      for row, ids in todo:
        found = self._index.find(ids)
        if len(batch) == self._rows or not fresh.isdisjoint(found.pages):
          again.append((row, ids))  # It may find more in the next round.
        elif found.length == len(ids):
          self._index.hold(found.pages)
          ready[row] = found.pages
        elif (part := self._add(ids, found)) is None:
          late.append((row, ids))
        else:
          batch.append(part)
          again.append((row, ids))
          fresh.update(new.page for new in part[2])
      if batch:
        self._fill(batch)
      todo = again
    return ready, late

  def _add(self, ids, found: prefixes.Found):
    """A chunk of a prefix and its pages, or None if it finds no room."""
    until = found.length + self._chunks[-1] * self.size
    if until < len(ids):
      until = until // self.size * self.size
    # What it stands on may not make room for it.
    self._index.hold(found.pages)
    new = self._index.add(ids[:until])
    return None if new is None else (ids[:until], found, new)

  def _fill(self, batch) -> None:
    longest = max(len(ids) - found.length for ids, found, _ in batch)
    self.filled += sum(len(ids) - found.length for ids, found, _ in batch)
    chunk = next(x for x in self._chunks if x * self.size >= longest)
    fresh = not any(found.length for _, found, _ in batch)
    need = max(len(found.pages) for _, found, _ in batch)
    width = next(x for x in self.widths if x >= need)
    table = np.zeros((self._rows, width), np.int32)
    tokens = np.zeros((self._rows, chunk * self.size), np.int32)
    cut, pages = np.zeros(self._rows, np.int32), []
    for row, (ids, found, new) in enumerate(batch):
      table[row, : len(found.pages)] = found.pages
      tokens[row, : len(ids) - found.length] = ids[found.length :]
      cut[row] = found.length
      pages += [Page(one.page, one.start, row) for one in new]
    where = self._written(pages, self._rows * (chunk + 1))
    rows = [paging.place(self._mesh, x) for x in (table, cut, tokens)]
    self._pool = self._do.fill(
      self._params, self._pool, *rows, *where, fresh=fresh
    )

  def _written(self, pages: list[Page], num: int) -> list[np.ndarray]:
    """Arrays of pages, starts and rows; those for nobody go nowhere."""
    nowhere = Page(self._num_pages, 0, 0)
    table = [*pages, *[nowhere] * (num - len(pages))]
    return [np.array(x, np.int32) for x in zip(*table, strict=True)]
