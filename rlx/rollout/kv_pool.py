"""The pool of pages on the device: made when it is needed, as large as it must.

It has one of a few sizes, for each of which there are programs. The first call
of one compiles those beside it too.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from rlx import ahead
from rlx import policy as policies
from rlx.rollout import paging


class Page(NamedTuple):
  """A page to be written from a row, with its positions from `start` on."""

  page: int
  start: int
  row: int


class Pool:
  """Keys and values in pages.

  Attributes:
    pages: that there are; what it had the last time, it will have again.
    data: None while there is nothing in it.
  """

  def __init__(
    self,
    policy: policies.Policy,
    *,
    size: int,
    sizes: Iterable[int],
    mesh: Mesh,
  ):
    """Returns a pool that is not there yet.

    Args:
      size: tokens of a page.
      sizes: pages that it may have.
    """
    self._do = paging.compile_(policy, size, mesh)
    self._size, self._sizes, self._mesh = size, sorted(sizes), mesh
    self._compiled: set[Any] = set()
    self.pages = 0
    self.data: policies.Pool | None = None

  def forget(self) -> None:
    """Lets go of all pages."""
    self.data = None

  def reach(self, pages: Iterable[int]) -> None:
    """Makes the pool, or a larger one, if it has not all of these pages."""
    need = max(max(pages) + 1, self.pages)
    size = next(x for x in self._sizes if x >= need)
    if self.data is None:
      self.data = self._do.init(size)
    elif size > self.pages:
      self.data = self._do.grow(self.data, size)
    self.pages = size

  def store(
    self,
    new: Sequence[Page],
    most: int,
    what: tuple[Any, ...],
    others: Sequence[tuple[Any, ...]] = (),
  ) -> None:
    """Writes pages.

    Args:
      most: pages that are written at once.
      what: cache, trunk and cut that have them.
      others: shapes of what may be stored later.
    """
    if not new:
      return
    self.reach(one.page for one in new)
    compiling, pool = ahead.Ahead(), ahead.shape_of(self.data)
    for like in (*others, shape := ahead.shape_of(what)):
      name = ("store", most, str(like), self.pages)
      if name not in self._compiled:
        self._compiled.add(name)
        if like is not shape and str(like) != str(shape):
          compiling.start(self._do.store, pool, *self._written([], most), *like)
    for at in range(0, len(new), most):
      where = self._written(new[at : at + most], most)
      self.data = self._do.store(self.data, *where, *what)
    compiling.wait()

  def fill(
    self,
    params: Any,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    pages: Sequence[Page],
    chunks: Sequence[int],
    fresh: bool,
  ) -> None:
    """Reads tokens into pages.

    Args:
      rows: table, cut and tokens; see `paging.Programs`.
      chunks: tokens that rows may have.
    """
    self.reach(one.page for one in pages)
    table, cut, tokens = rows
    with self._beside("fill") as start:
      if start is not None:
        like = ahead.shape_of((params, self.data))
        for other in ((x, y) for x in chunks for y in (False, True)):
          if other != (tokens.shape[1], fresh):
            empty = np.zeros((len(cut), other[0]), np.int32)
            given = self._given(table, cut, empty, [])
            start(self._do.fill, *like, *given, fresh=other[1])
      given = self._given(table, cut, tokens, pages)
      self.data = self._do.fill(params, self.data, *given, fresh=fresh)

  def load(self, table: np.ndarray) -> policies.Cache:
    """Returns pages as a cache; see `Policy.load`."""
    self.reach([0])
    self._compiled.add(("load", *table.shape, self.pages))
    return self._do.load(self.data, paging.place(self._mesh, table))

  def merge(self, one, other, which: np.ndarray) -> policies.Cache:
    """Returns a cache with the other's rows where asked."""
    return self._do.merge(one, other, paging.place(self._mesh, which))

  def load_ahead(
    self, compiling: ahead.Ahead, num: int, width: int
  ) -> policies.Cache:
    """Has what loads `num` rows of pages compiled once; returns their shape."""
    table = paging.place(self._mesh, np.zeros((num, width), np.int32))
    like = ahead.shape_of(self.data), table
    if ("load", num, width, self.pages) not in self._compiled:
      self._compiled.add(("load", num, width, self.pages))
      compiling.start(self._do.load, *like)
    return paging.shapes(self._mesh, self._do.load, *like)

  @contextlib.contextmanager
  def _beside(self, *name: Any) -> Iterator[Callable[..., None] | None]:
    """Gives what starts compiling the first time, and in the end waits for it."""
    name = (*name, self.pages)
    if name in self._compiled:
      yield None
      return
    compiling = ahead.Ahead()
    yield compiling.start
    compiling.wait()
    self._compiled.add(name)

  def _given(self, table, cut, tokens, pages: Sequence[Page]) -> list[Any]:
    rows = [paging.place(self._mesh, x) for x in (table, cut, tokens)]
    most = tokens.shape[0] + tokens.size // self._size
    return [*rows, *self._written(pages, most)]

  def _written(self, pages: Sequence[Page], num: int) -> list[np.ndarray]:
    """Arrays of pages, starts and rows; those for nobody go nowhere."""
    nowhere = Page(self._sizes[-1], 0, 0)
    table = [*pages, *[nowhere] * (num - len(pages))]
    return [np.array(x, np.int32) for x in zip(*table, strict=True)]
