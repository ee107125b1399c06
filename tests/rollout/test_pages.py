"""Pages and prefixes: nothing is lost, nothing is owned twice, and no more is
held than what differs."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rlx.rollout import pages, prefixes

settings = hypothesis.settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


@settings
@hypothesis.given(SEEDS)
def test_random_programs_lose_no_page_and_own_none_twice(seed):
  rng = np.random.default_rng(seed)
  now, tables = pages.init(12), []
  most = 0
  for _ in range(40):
    what = rng.integers(3)
    if what == 0 and pages.num_free(now):
      num = int(rng.integers(1, pages.num_free(now) + 1))
      before = now.refs.copy()
      now, ids = pages.allocate(now, num)
      assert not before[ids].any()
      assert len(set(ids.tolist())) == num
      tables.append(ids)
    elif what == 1 and tables:  # A fork: some of the pages of another.
      table = tables[rng.integers(len(tables))]
      ids = table[: rng.integers(len(table) + 1)]
      now = pages.share(now, ids)
      tables.append(ids)
    elif tables:
      now = pages.release(now, tables.pop(rng.integers(len(tables))))
    owned = np.bincount(
      np.concatenate([*tables, np.zeros(0, np.int64)]).astype(np.int64),
      minlength=12,
    )
    np.testing.assert_array_equal(now.refs, owned)
    most = max(most, np.count_nonzero(owned))
    assert now.peak == most
    assert pages.num_free(now) + pages.num_held(now) == 12


def test_what_cannot_be_is_refused_with_the_pages():
  now, ids = pages.allocate(pages.init(3), 2)
  with pytest.raises(ValueError, match="2 pages are wanted, and 1 are free"):
    pages.allocate(now, 2)
  with pytest.raises(ValueError, match=r"pages \[2\] are free"):
    pages.share(now, np.array([2]))
  with pytest.raises(ValueError, match=r"pages \[0\] are released more often"):
    pages.release(now, np.array([0, 0]))
  assert pages.num_held(pages.release(now, ids)) == 0
  assert pages.needed(32, 16) == 2
  assert pages.needed(33, 16) == 3
  assert pages.needed(0, 16) == 0


def grow(rng, words=3, most=20, depth=4):
  """Sequences of a random tree, every prefix of which is one too, shuffled."""
  paths = [rng.integers(words, size=int(rng.integers(1, most)))]
  for _ in range(int(rng.integers(1, 3**depth))):
    path = paths[rng.integers(len(paths))]
    cut = int(rng.integers(len(path) + 1))
    more = rng.integers(words, size=int(rng.integers(1, most)))
    paths.append(np.concatenate([path[:cut], more]))
  rng.shuffle(paths)
  return paths


def distinct(paths, size):
  """Pages that a tree takes: contents of pages that are no other's beginning."""
  held = set()
  for path in paths:
    for at in range(0, len(path), size):
      held.add(tuple(path[: at + size]))
  ends = lambda one, other: (
    len(one) < len(other)
    and other[: len(one)] == one
    and (len(one) - 1) // size == (len(other) - 1) // size
  )
  return sum(not any(ends(one, other) for other in held) for one in held)


@settings
@hypothesis.given(SEEDS, st.integers(1, 5))
def test_a_tree_takes_the_pages_of_its_distinct_tokens(seed, size):
  rng = np.random.default_rng(seed)
  paths = grow(rng)
  index = prefixes.Prefixes(1000, size)
  # The longest first, so that no page is written that another replaces.
  for path in sorted(paths, key=len, reverse=True):
    index.add(path)
  index.settle()
  want = distinct(paths, size)
  assert len(index) == want
  assert pages.num_held(index.pages) == want + 1  # And the empty one.
  assert index.pages.peak == want + 1
  check(index)


@settings
@hypothesis.given(SEEDS, st.integers(1, 4), st.integers(6, 30))
def test_what_is_found_is_what_was_written(seed, size, num):
  """A pool of tokens, written as the pages say and read as they are found."""
  rng = np.random.default_rng(seed)
  index, pool = prefixes.Prefixes(num, size), np.full((num, size), -1)
  for path in grow(rng, words=2, most=12, depth=3):
    found = index.find(path)
    assert found.length == held(pool, found, path)
    new = index.add(path)
    if new is None:  # No room for it, even without all others.
      assert pages.needed(len(path), size) > num - 1 - len(found.pages)
      index.settle()
      continue
    for page, start in new or ():
      piece = path[start : start + size]
      pool[page] = [*piece, *[-1] * (size - len(piece))]
    index.settle()
    found = index.find(path)
    assert found.length == len(path) == held(pool, found, path)
    assert len(found.pages) == pages.needed(len(path), size)
    assert 0 not in found.pages
    # A sequence writes what it does not share, and one page that it forks in.
    assert len(new) <= pages.needed(len(path), size)
    check(index)


def held(pool, found, path):
  """How many tokens of a path stand in the pages that were found."""
  have = np.concatenate([pool[found.pages].reshape(-1), [-1]])
  np.testing.assert_array_equal(have[: found.length], path[: found.length])
  return found.length


def check(index):
  """Every page is the tree's, once, or free."""
  owned = sorted(node.page for node in index._nodes())
  assert len(owned) == len(set(owned))
  want = np.zeros(len(index.pages.refs), int)
  want[[0, *owned]] = 1
  np.testing.assert_array_equal(index.pages.refs, want)


def test_a_fork_inside_a_page_shares_it_and_copies_one():
  index = prefixes.Prefixes(9, 4)
  assert [new.start for new in index.add(np.arange(10)) or ()] == [0, 4, 8]
  other = np.array([0, 1, 2, 3, 4, 5, 9, 9, 9])
  found = index.find(other)
  assert found.length == 6
  np.testing.assert_array_equal(found.pages, [1, 2])
  # Its own copy of the page it forks in, and what comes behind.
  assert [new.start for new in index.add(other) or ()] == [4, 8]
  index.settle()
  assert len(index) == 5


def test_what_ends_in_a_page_is_replaced_by_what_goes_on_in_it():
  index = prefixes.Prefixes(9, 4)
  index.add(np.arange(6))
  index.add(np.arange(7))
  index.settle()
  assert len(index) == 2
  assert index.add(np.arange(5)) == []


def test_what_was_used_longest_ago_makes_room_and_what_is_held_does_not():
  index = prefixes.Prefixes(4, 2)  # Three for use.
  first, second, third = (np.array([k, k]) for k in (1, 2, 3))
  for path in (first, second, third):
    index.add(path)
  index.settle()
  index.find(first)
  index.add(np.array([4, 4]))
  assert [index.find(x).length for x in (first, second, third)] == [2, 0, 2]
  index.hold(index.find(first).pages)
  index.hold(index.find(third).pages)
  assert index.add(second) is None
  index.settle()
  assert index.add(second) is not None
