"""What the policy has read already: keys and values in pages, found by content.

The pages lie on the device, and which has what is known on the host. Nothing
that is drawn depends on how many there are: what finds no room is read again.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from rlx import policy as policies
from rlx import sharding
from rlx.rollout import kv_pool, prefixes
from rlx.rollout import pages as pages_lib

_CHUNK = 256  # Most tokens of a prefix that are read at once.
_SUFFIX = 32  # What is no longer than this is read by a program of its own.
_PARTS = (8, 4, 2)  # Of the most pages: what a pool may have instead.
_FEW = 64  # Pages that are no part, as each is compiled.


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
    grows: bool = False,
  ):
    """Returns an empty memory; the pool is made when something is kept.

    Args:
      length: tokens of the longest sequence.
      size: tokens of a page.
      num_pages: most of the pool, beside one that stays empty.
      rows: prefixes that are read at once.
      grows: the pool has an eighth of these pages at first, and doubles when
        what is kept needs it; what reads and writes it is then compiled again.

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
    sizes = {round_up(-(-self._num_pages // part)) for part in _PARTS}
    few = max(_FEW, self.width + 2)
    sizes = {x for x in sizes if grows and x >= few} | {self._num_pages}
    self._pool = kv_pool.Pool(policy, size=size, sizes=sizes, mesh=mesh)
    self._params: Any = None
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
    return [-(-self.width // 2), self.width]

  @property
  def pool(self) -> kv_pool.Pool:
    """The pages themselves."""
    return self._pool

  def forget(self) -> None:
    """Lets go of the parameters and of all that was read."""
    self._params = None
    self._pool.forget()
    self._index = prefixes.Prefixes(self._num_pages, self.size)

  def keep(
    self,
    params: Any,
    kept: Any,
    rows: np.ndarray,
    tokens: Sequence[np.ndarray],
    most: int,
    others: Sequence[tuple[Any, ...]] = (),
  ) -> None:
    """Stores what rows have read; what finds no room is left out.

    Args:
      kept: of an engine: its trunk, cache and cut.
      tokens: for each of the rows what it has read, from the first token on.
      most: pages that are written at once.
      others: shapes of other caches, trunks and cuts that may be kept later.
    """
    with self._using(params):
      new: list[kv_pool.Page] = []
      # The longest first: it may have the others' pages too.
      asked = zip(rows.tolist(), tokens, strict=True)
      for row, ids in sorted(asked, key=lambda x: -len(x[1])):
        added = self._index.add(ids)
        new += [kv_pool.Page(one.page, one.start, row) for one in added or ()]
      what = kept.cache, kept.trunk, kept.cut
      self._pool.store(new, most, what, others)

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
    todo = sorted(enumerate(prefixes_), key=lambda x: -len(x[1]))
    caches: list[policies.Cache] = []
    with self._using(params):
      while todo or not caches:
        ready, rest = self._prepare(todo)
        if todo and not ready:  # Together they find no room.
          self._index.settle()
          ready, rest = self._prepare(todo[:1])
          rest += todo[1:]
        asked = tables(ready)
        new = [self._pool.load(x.pages) for x in asked]
        if caches:
          which = [x.which for x in asked]
          new = list(map(self._pool.merge, caches, new, which))
        caches, todo = new, rest
        self._index.settle()
    return caches

  @contextlib.contextmanager
  def _using(self, params: Any) -> Iterator[None]:
    """What was added counts as written: if something fails, nothing is."""
    if params is not self._params:
      self.forget()
      self._params = params
    try:
      yield
      self._index.settle()
    except BaseException:
      self.forget()
      raise

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
    table = np.zeros((self._rows, self.width), np.int32)
    tokens = np.zeros((self._rows, chunk * self.size), np.int32)
    cut, pages = np.zeros(self._rows, np.int32), []
    for row, (ids, found, new) in enumerate(batch):
      table[row, : len(found.pages)] = found.pages
      tokens[row, : len(ids) - found.length] = ids[found.length :]
      cut[row] = found.length
      pages += [kv_pool.Page(one.page, one.start, row) for one in new]
    # Those of short sequences are compiled when they are needed.
    chunks = [x * self.size for x in self._chunks if len(self.widths) > 1]
    self._pool.fill(self._params, (table, cut, tokens), pages, chunks, fresh)
