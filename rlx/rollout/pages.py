"""Who holds which page of a pool: reference counts, as pure functions of arrays.

A page is free where nobody holds it. A sequence's table is the pages it holds,
in order; sequences with a common prefix hold its pages together.
"""

from typing import NamedTuple

import numpy as np


class Pages(NamedTuple):
  """How often each page is held.

  Attributes:
    refs: int32 [pages]; 0 is free.
    peak: the most pages that were ever held at once.
  """

  refs: np.ndarray
  peak: int


def init(num: int) -> Pages:
  """Returns `num` free pages."""
  return Pages(np.zeros(num, np.int32), 0)


def needed(tokens: int, size: int) -> int:
  """Returns how many pages of `size` hold so many tokens."""
  return -(-tokens // size)


def num_held(pages: Pages) -> int:
  """Returns how many pages somebody holds."""
  return int(np.count_nonzero(pages.refs))


def num_free(pages: Pages) -> int:
  """Returns how many pages nobody holds."""
  return len(pages.refs) - num_held(pages)


def allocate(pages: Pages, num: int) -> tuple[Pages, np.ndarray]:
  """Returns `num` pages that were free, held once, the lowest numbers first.

  Raises:
    ValueError: fewer are free.
  """
  ids = np.flatnonzero(pages.refs == 0)[:num]
  if len(ids) < num:
    raise ValueError(f"{num} pages are wanted, and {len(ids)} are free")
  count = pages.refs.copy()
  count[ids] = 1
  held = int(np.count_nonzero(count))
  return Pages(count, max(pages.peak, held)), ids


def share(pages: Pages, ids: np.ndarray) -> Pages:
  """Returns the pages with each of `ids` held once more.

  Raises:
    ValueError: nobody holds one of them, so that it may be anything.
  """
  if len(ids) and not pages.refs[ids].all():
    free = np.asarray(ids)[pages.refs[ids] == 0].tolist()
    raise ValueError(f"pages {free} are free: only what is held can be shared")
  return pages._replace(refs=pages.refs + _times(pages, ids))


def release(pages: Pages, ids: np.ndarray) -> Pages:
  """Returns the pages with each of `ids` held once less.

  Raises:
    ValueError: one of them is not held so often.
  """
  count = pages.refs - _times(pages, ids)
  if (count < 0).any():
    over = np.flatnonzero(count < 0).tolist()
    raise ValueError(f"pages {over} are released more often than they are held")
  return pages._replace(refs=count)


def _times(pages: Pages, ids: np.ndarray) -> np.ndarray:
  ids = np.asarray(ids, np.int64)
  return np.bincount(ids, minlength=len(pages.refs)).astype(np.int32)
