"""Laws and hand tables of the three kernels."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.credit import kernels

SIZE = 12
settings = hypothesis.settings(max_examples=25, deadline=None)
columns = hnp.arrays(np.int32, SIZE, elements=st.integers(-3, 3))
hashes = hnp.arrays(np.int32, SIZE, elements=st.integers(-(2**31), 2**31 - 1))
masks = hnp.arrays(np.bool_, SIZE)
floats = hnp.arrays(
  np.float32, SIZE, elements=st.floats(-10, 10, width=32, allow_nan=False)
)

ids_of_one = jax.jit(lambda a, live: kernels.group_ids(a, live=live))
ids_of_two = jax.jit(lambda a, b, live: kernels.group_ids(a, b, live=live))
propagate = jax.jit(kernels.propagate)


def assert_same_groups(ids, live, *wanted):
  ids = np.asarray(ids)
  for i in range(SIZE):
    if not live[i]:
      assert ids[i] == SIZE
      continue
    assert 0 <= ids[i] < SIZE
    for j in np.flatnonzero(live):
      together = all(column[i] == column[j] for column in wanted)
      assert (ids[i] == ids[j]) == together


@settings
@hypothesis.given(st.one_of(columns, hashes), masks)
def test_rows_share_a_key_exactly_if_they_share_the_column(a, live):
  assert_same_groups(ids_of_one(a, live), live, a)


@settings
@hypothesis.given(columns, hashes, masks)
def test_rows_share_a_key_exactly_if_they_share_all_columns(a, b, live):
  b = np.where(a > 0, b, b[0])
  assert_same_groups(ids_of_two(a, b, live), live, a, b)


def test_without_columns_all_live_rows_are_one_group():
  live = jnp.array([True, False, True])
  assert kernels.group_ids(live=live).tolist() == [0, 3, 0]


@settings
@hypothesis.given(columns, floats, masks)
def test_keyed_reductions_equal_loops(key, x, live):
  ids = ids_of_one(key, live)
  vote = live.astype(np.float32)
  got = jax.jit(
    lambda x, ids, vote: (
      kernels.keyed_sum(x, ids),
      kernels.keyed_mean(x, ids, vote),
      kernels.keyed_max(x, ids),
      kernels.keyed_softmax(x, ids, vote),
    )
  )(x, ids, vote)
  for i in np.flatnonzero(live):
    group = x[live & (key == key[i])].astype(np.float64)
    e = np.exp(group - group.max())
    want = (
      group.sum(),
      group.mean(),
      group.max(),
      np.exp(x[i] - group.max()) / e.sum(),
    )
    np.testing.assert_allclose([g[i] for g in got], want, atol=2e-5)


@pytest.mark.parametrize("junk", [jnp.nan, jnp.inf, 1e30])
def test_a_keyed_softmax_over_everything_leaves_padding_out(junk):
  vote = jnp.array([1.0, 0.0, 1.0])
  f = lambda x: kernels.keyed_softmax(x, None, vote)
  x = jnp.array([0.0, junk, 0.0])
  np.testing.assert_allclose(f(x), [0.5, 0, 0.5])
  assert jnp.isfinite(jax.grad(lambda x: f(x)[0])(x)).all()


@settings
@hypothesis.given(floats, masks)
def test_propagate_equals_a_loop_from_behind(r, more):
  c = np.where(more, np.float32(0.9), np.float32(0))
  want, y = np.zeros(SIZE), 0.0
  for t in reversed(range(SIZE)):
    y = want[t] = r[t] + c[t] * y
  np.testing.assert_allclose(propagate(r, c), want, atol=2e-4)


@settings
@hypothesis.given(floats)
def test_fuse_on_a_chain_equals_propagate(r):
  r = r[:6]
  more = jnp.array([1.0, 1, 1, 1, 1, 0])
  fused = jax.jit(
    lambda r: kernels.fuse(
      jnp.where(more > 0, 0.0, r),
      jnp.arange(-1, 5),
      jnp.arange(6),
      max_depth=5,
      r=r,
      c=0.9,
    )
  )(r)
  np.testing.assert_allclose(fused, propagate(r, 0.9 * more), atol=1e-5)


PARENT = jnp.array([-1, 0, 0, 1, 1, 2, 2])
DEPTH = jnp.array([0, 1, 1, 2, 2, 2, 2])
LEAVES = jnp.array([0, 0, 0, 1, 0.5, 0, 0.5])


@pytest.mark.parametrize(
  "how, want",
  [
    ("mean", [0.5, 0.75, 0.25, 1, 0.5, 0, 0.5]),
    ("sum", [2.0, 1.5, 0.5, 1, 0.5, 0, 0.5]),
    ("max", [1.0, 1.0, 0.5, 1, 0.5, 0, 0.5]),
  ],
)
def test_a_node_is_what_its_children_reduce_to(how, want):
  got = kernels.fuse(LEAVES, PARENT, DEPTH, max_depth=2, how=how)
  np.testing.assert_allclose(got, want)


def test_a_tree_passes_over_children_without_a_vote():
  vote = jnp.array([1.0, 1, 1, 1, 0, 1, 1])
  got = kernels.fuse(LEAVES, PARENT, DEPTH, max_depth=2, vote=vote)
  np.testing.assert_allclose(got[:3], [0.625, 1.0, 0.25])


def test_a_single_node_is_a_tree():
  one = jnp.array([3.0])
  got = kernels.fuse(one, jnp.array([-1]), jnp.array([0]), max_depth=4)
  np.testing.assert_allclose(got, one)
