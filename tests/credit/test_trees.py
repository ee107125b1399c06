"""Links on trees and gains: hand tables, laws on random trees, padding."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit
from rlx.credit import gains, keep, trees

SIZE, DEEPEST = 20, 5
settings = hypothesis.settings(max_examples=12, deadline=None)
BINARY = {"parent": [-1, 0, 0, 1, 1, 2, 2], "depth": [0, 1, 1, 2, 2, 2, 2]}


def table(outcome, parent, depth, *, weight=None, tree=None, **columns):
  size = len(parent)
  return credit.step_table(
    trajectory=np.arange(size),
    reward=np.zeros(size),
    outcome=outcome,
    parent=parent,
    depth=depth,
    tree=np.zeros(size) if tree is None else tree,
    weight=weight,
    extras=columns,
  )


def value(link, steps):
  link = credit.chain(credit.outcome(), link)
  with jax.disable_jit():  # Each is run once, on a handful of rows.
    return np.asarray(credit.advantages(link, link.init(), steps)[0])


LINKS = {
  "mean": trees.fuse(max_depth=DEEPEST),
  "leaf": trees.fuse(max_depth=DEEPEST, vote="leaf", discount=0.9),
  "path": trees.fuse(max_depth=DEEPEST, vote="path"),
  "max": trees.fuse(max_depth=DEEPEST, how="max", discount=0.9),
  "difference": trees.difference(),
  "best": trees.difference(4),
  "sum": trees.path_sum(max_depth=DEEPEST),
  "leaves": trees.among_leaves(credit.standardise(by=("prompt",))),
  "gain": gains.gain(4),
  "inner": gains.inner(),
  "ahead": gains.look_ahead(0.7, 2),
  "sooner": gains.sooner(),
  "returns": credit.returns(0.9),
}


@jax.jit
def all_values(steps):
  links = {k: credit.chain(credit.outcome(), x) for k, x in LINKS.items()}
  return {
    k: x.update(steps.reward, x.init(), steps)[0] for k, x in links.items()
  }


def forest(seed):
  """Random trees, each row behind its parent, with padding anywhere."""
  rng = np.random.default_rng(seed)
  live = rng.random(SIZE) < 0.75
  parent, depth = np.full(SIZE, -1), np.zeros(SIZE, int)
  tree = rng.integers(0, 2, SIZE)
  for row in np.flatnonzero(live):
    above = [r for r in np.flatnonzero(live[:row]) if depth[r] < DEEPEST]
    if above and rng.random() < 0.8:
      parent[row] = rng.choice(above)
      depth[row], tree[row] = depth[parent[row]] + 1, tree[parent[row]]
  # What padding holds is no matter.
  parent = np.where(live, parent, rng.integers(-1, SIZE, SIZE))
  depth = np.where(live, depth, rng.integers(0, 9, SIZE))
  columns = {
    name: rng.normal(size=SIZE)
    for name in ("segment_log_prob", "value_before", "value_after")
  }
  return table(
    rng.integers(0, 3, SIZE) / 2,
    parent,
    depth,
    weight=live,
    tree=tree,
    **columns,
  )


def children(steps, row):
  live = np.asarray(steps.weight) > 0
  return np.flatnonzero(live & (np.asarray(steps.parent) == row))


def recursion(steps, row, how, discount=1.0):
  """`fuse` as its definition reads."""
  below = children(steps, row)
  if not len(below):
    return float(steps.outcome[row])
  values = [recursion(steps, r, how, discount) for r in below]
  if how == "max":
    return discount * max(values)
  votes = np.ones(len(below))
  if how == "leaf":
    votes = [len(leaf_rows(steps, r)) for r in below]
  if how == "path":
    votes = np.exp(np.asarray(steps.extras["segment_log_prob"])[below])
  return discount * np.average(values, weights=votes)


def leaf_rows(steps, row):
  below = children(steps, row)
  if not len(below):
    return [row]
  return [leaf for r in below for leaf in leaf_rows(steps, r)]


@settings
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_links_are_what_their_definitions_say_on_ragged_forests(seed):
  steps = forest(seed)
  got = {name: np.asarray(x) for name, x in all_values(steps).items()}
  live = np.asarray(steps.weight) > 0
  for name, x in got.items():
    assert np.isfinite(x).all(), name
    assert not x[~live].any(), name
  parent, outcome = np.asarray(steps.parent), np.asarray(steps.outcome)
  for row in np.flatnonzero(live):
    for name, discount in (
      ("mean", 1),
      ("leaf", 0.9),
      ("path", 1),
      ("max", 0.9),
    ):
      want = recursion(steps, row, name, discount)
      np.testing.assert_allclose(got[name][row], want, atol=2e-5)
    path = [row]
    while parent[path[-1]] >= 0:
      path.append(parent[path[-1]])
    np.testing.assert_allclose(got["sum"][row], outcome[path].sum(), atol=2e-5)
    top = live & (parent < 0) & (np.asarray(steps.tree) == steps.tree[row])
    above = outcome[parent[row]] if parent[row] >= 0 else outcome[top].mean()
    np.testing.assert_allclose(
      got["difference"][row], outcome[row] - above, atol=2e-5
    )
    if len(children(steps, row)):
      assert got["leaves"][row] == 0


@settings
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_padding_is_inert_whatever_it_holds(seed):
  steps = forest(seed)
  dead = steps.weight == 0
  fill = lambda x: jnp.where(dead, jnp.nan, x)
  names = ("reward", "outcome", "value", "continues", "vote")
  junk = dataclasses.replace(
    steps,
    **{name: fill(getattr(steps, name)) for name in names},
    extras={name: fill(x) for name, x in steps.extras.items()},
  )
  got, want = all_values(junk), all_values(steps)
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_gradients_of_padding_are_zero():
  steps = table(
    [0, 1, 9, 0, 1], [-1, 0, 3, 0, 3], [0, 1, 7, 1, 2], weight=[1, 1, 0, 1, 1]
  )
  link = credit.chain(credit.outcome(), LINKS["leaf"], LINKS["difference"])

  def total(outcome):
    filled = dataclasses.replace(steps, outcome=outcome)
    return link.update(filled.reward, link.init(), filled)[0][3]

  grad = jax.jit(jax.grad(total))(steps.outcome.at[2].set(jnp.nan))
  # y(3) = 0.9 x(4), less y(0) = 0.9 (x(1) + 0.9 x(4)) / 2.
  np.testing.assert_allclose(grad, [0, -0.45, 0, 0, 0.495], atol=2e-5)


def test_values_are_those_of_float64_in_float64():
  with jax.enable_x64(True):
    steps = forest(0)
    cast = lambda x: x.astype(float) if x.dtype == jnp.float32 else x
    out = jax.eval_shape(all_values, jax.tree.map(cast, steps))
  for name, x in out.items():
    assert x.dtype == jnp.float64, name


def test_fusing_a_tree():
  steps = table([0, 0, 0, 1, 0.5, 0, 0.5], **BINARY)
  got = value(trees.fuse(max_depth=2), steps)
  np.testing.assert_allclose(got, [0.5, 0.75, 0.25, 1, 0.5, 0, 0.5], atol=2e-5)
  probable = {"segment_log_prob": [0, 0, 0, 0, -1, 0, -1]}
  steps = table([0, 0, 0, 1, 0.5, 0, 0.5], **BINARY, **probable)
  got = value(trees.fuse(max_depth=2, vote="path"), steps)
  want = [0.5, 0.865529, 0.134471, 1, 0.5, 0, 0.5]
  np.testing.assert_allclose(got, want, atol=2e-5)


def test_means_of_leaves_and_of_means_differ_where_one_ends_early():
  # A leaf beside a node of two leaves.
  steps = table([0, 1, 0, 0, 0], [-1, 0, 0, 2, 2], [0, 1, 1, 2, 2])
  assert value(trees.fuse(max_depth=2), steps)[0] == pytest.approx(1 / 2)
  leaf = trees.fuse(max_depth=2, vote="leaf")
  assert value(leaf, steps)[0] == pytest.approx(1 / 3)


def test_a_tree_that_is_a_chain_is_a_chain():
  """L26: fuse = propagate, and differences telescope (L10)."""
  size = 6
  chain = table(np.eye(size)[-1], np.arange(-1, size - 1), np.arange(size))
  chain = dataclasses.replace(
    chain, reward=chain.outcome, continues=jnp.ones(size).at[-1].set(0)
  )
  got = value(trees.fuse(max_depth=size - 1, discount=0.9), chain)
  np.testing.assert_allclose(got, value(credit.returns(0.9), chain), atol=2e-5)
  rng = np.random.default_rng(0)
  steps = dataclasses.replace(
    chain, outcome=jnp.asarray(rng.normal(size=size), jnp.float32)
  )
  total = value(trees.difference(), steps).sum()
  np.testing.assert_allclose(
    total, steps.outcome[-1] - steps.outcome[0], atol=2e-5
  )


@jax.jit
def along(steps):
  links = {
    "ahead": gains.look_ahead(0.7, 4),
    "half": gains.look_ahead(0.5, 4),
    "sooner": gains.sooner(),
    "inner": gains.inner(),
  }
  return {k: x.update(steps.reward, (), steps)[0] for k, x in links.items()}


def of_chain(name, trajectory, reward, weight=None):
  """A link on chains, with padding behind them."""
  weight = np.ones(len(reward)) if weight is None else weight
  fill = lambda x: [*x, *[0] * (8 - len(x))]
  steps = credit.step_table(
    trajectory=fill(trajectory), reward=fill(reward), weight=fill(weight)
  )
  return np.asarray(along(steps)[name])[: len(reward)]


def test_a_flat_step_takes_a_part_of_what_follows():
  got = of_chain("ahead", [0] * 5, [0, 0, 0.4, -0.6, 0])
  np.testing.assert_allclose(got, [0.196, 0.28, 0.4, -0.6, 0], atol=2e-5)
  # L11: without a flat step nothing changes.
  got = of_chain("ahead", [0, 0, 1, 1], [1, -1, 2, 3])
  np.testing.assert_array_equal(got, [1, -1, 2, 3])
  # Four steps ahead is near enough, five is not; padding is no step.
  got = of_chain("half", [0] * 7, [0, 0, 9, 0, 0, 0, 1], [1, 1, 0, 1, 1, 1, 1])
  np.testing.assert_allclose(got, [0, 0.0625, 0, 0.125, 0.25, 0.5, 1])
  # Nor does it look into another trajectory.
  got = of_chain("ahead", [0, 0, 1], [0, 0, 1])
  np.testing.assert_array_equal(got, [0, 0, 1])


def test_what_is_paid_sooner_stays_in_its_trajectory():
  rows = ([0, 0, 0, 0, 1], [1, 9, 2, 3, 4], [1, 0, 1, 1, 1])
  np.testing.assert_array_equal(of_chain("sooner", *rows), [2, 0, 3, 0, 0])
  np.testing.assert_array_equal(of_chain("inner", *rows), [0, 0, 2, 0, 0])


def rollout(log_probs, segment, version=0) -> batch.Rollout:
  shape = np.shape(log_probs)
  zeros = jnp.zeros(shape)
  log_probs = jnp.asarray(log_probs, jnp.float32)
  return batch.Rollout(
    tokens=zeros.astype(jnp.int32),
    valid=zeros == 0,
    mask=jnp.asarray(segment) >= 0,
    log_probs=log_probs,
    raw_log_probs=log_probs,
    segment=jnp.asarray(segment, jnp.int32),
    version=jnp.full(shape, version, jnp.int32),
  )


SEVEN = rollout(np.zeros((7, 1)), np.arange(7)[:, None])


def kept(mask, steps, seen=SEVEN, advantages=None):
  x = jnp.zeros(seen.mask.shape) if advantages is None else advantages
  return np.asarray(jax.jit(mask)(seen, steps, x)).ravel().astype(int).tolist()


def test_masks_of_tokens():
  steps = table([0, 0, 0, 1, 0, 0, 0], **BINARY)
  seen = rollout(np.log([[0.95, 0.5, 0.9]]), [[0, 0, 0]])
  assert kept(keep.uncertain(0.9), steps, seen) == [0, 1, 0]
  some = jnp.arange(7.0)[:, None]
  assert kept(keep.credited(), steps, advantages=some) == [0, 1, 1, 1, 1, 1, 1]


def test_a_window_of_depths_slides_up_as_updates_go_by():
  steps = table([0] * 7, **BINARY)
  mask = keep.outside_depths(width=1, first=2, last=1, every=30)
  for version, gone in ((0, 2), (29, 2), (30, 1), (99, 1)):
    seen = rollout(np.zeros((7, 1)), np.arange(7)[:, None], version)
    want = [int(d != gone) for d in BINARY["depth"]]
    assert kept(mask, steps, seen) == want


def test_pruning_the_width_of_a_tree():
  steps = table([0, 0, 0, 1, 0.5, 0, 0.5], **BINARY)
  assert kept(keep.some_leaves("best"), steps) == [1, 1, 1, 1, 0, 0, 1]
  assert kept(keep.some_leaves("extremes"), steps) == [1, 1, 1, 1, 0, 1, 0]
  both = keep.both(keep.some_leaves("best"), keep.some_leaves("extremes"))
  assert kept(both, steps) == [1, 1, 1, 1, 0, 0, 0]
  # A leaf that does not exist is in no ranking.
  less = dataclasses.replace(steps, weight=steps.weight.at[3].set(0))
  assert kept(keep.some_leaves("best"), less)[4] == 1


@pytest.mark.parametrize(
  "make",
  [
    lambda: trees.fuse(max_depth=-1),
    lambda: gains.gain(0),
    lambda: keep.some_leaves("best", 0.0),
    lambda: keep.outside_depths(width=1, first=0, last=1, every=1),
  ],
)
def test_what_makes_no_sense_is_refused(make):
  with pytest.raises(ValueError, match="="):
    make()
