"""Micro-batches: every row once, in few shapes."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from rlx import microbatches


@hypothesis.settings(deadline=None, max_examples=60, derandomize=True)
@hypothesis.given(
  lengths=st.lists(st.integers(0, 90), min_size=1, max_size=24),
  tokens=st.sampled_from([0, 1, 90, 200, 5000]),
  parts=st.sampled_from([1, 2, 4]),
)
def test_every_row_is_in_one_micro_batch_that_holds_it(lengths, tokens, parts):
  lengths = np.array(lengths)
  shapes = microbatches.sizes(90, len(lengths), tokens, parts)
  found = microbatches.split(lengths, shapes)
  seen = np.concatenate([m.rows for m in found] or [np.zeros(0, int)])
  real = seen[seen < len(lengths)]
  # Those with nothing to teach are in none.
  assert sorted(real.tolist()) == np.flatnonzero(lengths).tolist()
  for micro in found:
    rows = micro.rows[micro.rows < len(lengths)]
    assert (lengths[rows] <= micro.length).all()
    assert (micro.rows[len(rows) :] == len(lengths)).all()
    assert len(micro.rows) % parts == 0
    at = shapes.lengths.index(micro.length)
    assert len(micro.rows) == shapes.rows[at]


@hypothesis.settings(deadline=None, max_examples=60, derandomize=True)
@hypothesis.given(
  length=st.integers(1, 500),
  rows=st.integers(1, 70),
  tokens=st.integers(0, 3000),
  parts=st.sampled_from([1, 2, 8]),
)
def test_shapes_are_few_and_within_the_tokens_asked_for(
  length, rows, tokens, parts
):
  shapes = microbatches.sizes(length, rows, tokens, parts)
  assert 1 <= len(shapes.lengths) <= 4
  assert shapes.lengths[-1] == length
  assert list(shapes.lengths) == sorted(set(shapes.lengths))
  for padded, num in zip(shapes.lengths, shapes.rows, strict=True):
    assert num % parts == 0
    assert num < rows + parts
    # A micro-batch has at least a row a device, however long.
    assert not tokens or num == parts or num * padded <= tokens


def test_zero_tokens_means_the_whole_batch_at_once():
  shapes = microbatches.sizes(100, 6, 0, 4)
  assert set(shapes.rows) == {8}
  found = microbatches.split(np.array([5, 90, 3, 1, 2, 4]), shapes)
  assert len(found) == 1


def test_long_rows_go_together_and_short_ones_are_padded_little():
  shapes = microbatches.sizes(128, 8, 256, 1)
  assert shapes == microbatches.Sizes((32, 64, 96, 128), (8, 4, 2, 2))
  lengths = np.array([10, 128, 20, 100, 30, 40, 60, 1])
  found = microbatches.split(lengths, shapes)
  assert [(m.rows.tolist(), m.length) for m in found] == [
    ([1, 3], 128),
    ([6, 5, 4, 2], 64),
    ([0, 7, *[8] * 6], 32),
  ]


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_minibatches_are_disjoint_and_together_all(parts):
  rng = np.random.default_rng(0)
  found = microbatches.minibatches(10, parts, rng)
  assert len(found) == parts
  np.testing.assert_array_equal(np.sum(found, axis=0), np.ones(10))
  sizes = [int(chosen.sum()) for chosen in found]
  assert max(sizes) - min(sizes) <= 1


def test_minibatches_are_drawn_from_their_seed():
  draw = lambda seed: microbatches.minibatches(
    12, 3, np.random.default_rng(seed)
  )
  np.testing.assert_array_equal(draw(1), draw(1))
  assert (np.array(draw(1)) != np.array(draw(2))).any()
