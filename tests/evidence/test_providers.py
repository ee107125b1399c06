"""What every provider keeps."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import metrics
from rlx.evidence import (
  alignment,
  critic,
  effective_rank,
  implicit_reward,
  progress,
  prover,
)
from tests.evidence import shown

SHORT = {"stride": 1, "window": 5}
FACTORIES = {
  "implicit_reward": implicit_reward.implicit_reward,
  "progress": progress.progress,
  "critic": critic.critic,
  "prover": prover.prover,
  "effective_rank": functools.partial(effective_rank.effective_rank, **SHORT),
  "alignment": functools.partial(
    alignment.alignment, objectives=("right", "brief")
  ),
}
every = pytest.mark.parametrize("name", FACTORIES)
RNG = np.random.default_rng(0)
EXTRAS = {
  f"objective/{name}": np.repeat(RNG.integers(0, 3, 8), 3)
  for name in ("right", "brief")
}


def seen(seed=0):
  return shown.seen(seed, EXTRAS)


@functools.cache
def made(name, tokens=0):
  """The provider, its first state, and its update, which may compile once."""
  each = FACTORIES[name](shown.context(tokens))
  state = each.init(jax.random.key(0), shown.PARAMS)
  chex.clear_trace_counter()
  return each, state, jax.jit(chex.assert_max_traces(each.update, n=1))


def run(name, batches, tokens=0):
  """(state, columns, metrics) after these batches."""
  _, state, update = made(name, tokens)
  columns, found = {}, {}
  for batch in batches:
    state, columns, found = update(state, batch)
  return state, columns, found


def close(a, b, atol=2e-6):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@every
def test_a_provider_fills_its_columns_and_keeps_its_structure(name):
  each, state, _ = made(name)
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  first = seen()
  new, columns, found = run(name, [first, seen(1)])
  assert shapes(new) == shapes(state)
  assert new["count"] == state["count"] + 2
  assert set(columns) == set(each.columns)
  for x in columns.values():
    assert x.shape == first.steps.weight.shape
    assert np.isfinite(x).all()
    assert not np.asarray(x)[np.asarray(seen(1).steps.weight) == 0].any()
  assert any(np.asarray(x).any() for x in columns.values())
  assert np.isfinite(list(metrics.fetch(found).values())).all()


@every
def test_what_must_not_be_read_is_inert(name):
  batches = [seen(), seen(1)]
  clean = run(name, batches)
  junk = run(name, [shown.with_junk(x) for x in batches])
  # Hidden states of padding are junk too, so no sum has the same rounding.
  close(clean, junk, atol=1e-6)


@every
def test_chunks_are_the_whole(name):
  batches = [seen(), seen(1)]
  close(run(name, batches), run(name, batches, tokens=50))


@every
def test_a_table_of_padding_changes_nothing_but_the_count(name):
  nothing = shown.empty(seen())
  state, columns, _ = run(name, [seen()])
  _, _, update = made(name)
  new, columns, found = update(state, nothing)
  assert not any(np.asarray(x).any() for x in columns.values())
  for x in jax.tree.leaves((new, found)):
    assert np.isfinite(x).all()
  if name != "alignment":  # Which remembers that the gradient was 0.
    drop = lambda tree: {k: x for k, x in tree.items() if k != "count"}
    jax.tree.map(np.testing.assert_array_equal, drop(new), drop(state))


def test_a_step_of_padding_has_no_token_in_any_gradient():
  """A live mask over a step that was taken out of the table is not read."""
  full = seen()
  weight = full.steps.weight.at[0].set(0.0)
  less = full._replace(steps=dataclasses.replace(full.steps, weight=weight))
  clear = dataclasses.replace(
    less.rollout,
    mask=less.rollout.mask & (less.rollout.segment != 0),
    segment=jnp.where(less.rollout.segment == 0, -1, less.rollout.segment),
  )
  for name in FACTORIES:
    close(run(name, [less]), run(name, [less._replace(rollout=clear)]))
