"""Exploration: effective ranks, their velocity, and the baselines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.evidence import chunks, effective_rank
from tests.evidence import shown

ranks_of = jax.jit(effective_rank.prefix_ranks)
velocity = jax.jit(effective_rank.velocity)


def check(got, want):
  np.testing.assert_allclose(got, want, atol=2e-5)


def test_the_rank_of_the_worked_example():
  check(effective_rank.rank_of(jnp.array([3.0, 1.0])), 1.754765)


def test_nothing_has_rank_one():
  check(effective_rank.rank_of(jnp.zeros((2, 3))), [1.0, 1.0])


def test_velocity_and_acceleration_of_the_worked_example():
  ranks = jnp.array([2.0, 3.0, 3.5, 4.5])
  check(velocity(ranks, jnp.int32(4)), [1.222222, 0.333333])


@pytest.mark.parametrize(
  "num, want", [(0, [0, 0]), (1, [0, 0]), (2, [1, 0]), (3, [1, 0])]
)
def test_what_is_too_short_has_no_velocity(num, want):
  ranks = jnp.array([2.0, 3.0, 3.5, jnp.nan])
  check(velocity(ranks, jnp.int32(num)), want)


def test_phi_of_the_worked_example():
  # (ERA, ERV, ER) and what they were in earlier batches.
  found = jnp.array([[0.333333, 1.222222, 4.5]])
  mean = jnp.array([0.1, 1.0, 4.0])
  check(effective_rank.potential(found, mean, gain=2.0), [0.125231])


def rank(states):
  states = states - states.mean(0)
  p = np.linalg.svd(states, compute_uv=False)
  p = p / p.sum()
  return np.exp(-(p * np.log(p + 1e-8)).sum())


@pytest.mark.parametrize("width", [3, 12])
def test_ranks_of_prefixes_are_those_of_a_decomposition(width):
  rng = np.random.default_rng(0)
  # A mean far from 0 must not drown what is around it.
  states = 5.0 + rng.normal(size=(9, width))
  lengths = [2, 4, 7, 9]
  got = ranks_of(
    jnp.asarray(states, jnp.float32), jnp.int32(7), jnp.array(lengths)
  )
  want = [rank(states[: min(n, 7)]) for n in lengths]
  np.testing.assert_allclose(got, want, rtol=2e-3)


def test_states_that_are_all_equal_have_rank_one():
  got = ranks_of(jnp.full((6, 4), 2.0), jnp.int32(6), jnp.array([1, 3, 6]))
  check(got, [1.0, 1.0, 1.0])


def provider(**fields):
  each = effective_rank.effective_rank(shown.context(), **fields)
  state = each.init(jax.random.key(0), shown.PARAMS)
  return state, jax.jit(each.update)


def test_phi_is_zero_until_there_is_a_baseline():
  seen = shown.seen()
  first, update = provider(stride=1, window=5)
  state, columns, found = update(first, seen)
  assert not columns["exploration"].any()
  told = [found[f"exploration/{x}"] for x in _NAMES]
  check(state["mean"], [x.compute() for x in told])
  again, columns, _ = update(state, seen)
  check(again["mean"], state["mean"])  # Of the same batch.
  phi = np.asarray(columns["exploration"])
  assert phi.any()
  # One number a trajectory, and 0 where there are less than two strides.
  mask = chunks.chosen(seen.rollout, seen.steps)
  short = np.asarray(mask.sum(-1) <= 2)
  assert short.any()
  for trajectory in range(8):
    live = np.asarray(seen.steps.weight).reshape(8, 3)[trajectory] > 0
    own = phi.reshape(8, 3)[trajectory]
    assert len(set(own[live].tolist())) <= 1
    assert not (short[trajectory] and own.any())


_NAMES = ("acceleration", "velocity", "rank")


def test_only_the_last_tokens_of_the_window_are_looked_at():
  seen = shown.seen()
  mask = chunks.chosen(seen.rollout, seen.steps)
  hidden = jnp.broadcast_to(jnp.arange(24.0)[None, :, None], (8, 24, 1))
  states, num = effective_rank._last(hidden, mask, 3)
  for row in range(8):
    chosen = np.flatnonzero(np.asarray(mask)[row])[-3:]
    assert num[row] == len(chosen)
    assert states[row, : len(chosen), 0].tolist() == chosen.tolist()


def test_a_window_without_room_for_two_strides_gives_nothing():
  first, update = provider(stride=4, window=5)
  for seed in range(2):
    first, columns, _ = update(first, shown.seen(seed))
    assert first["count"] == 0
    assert not columns["exploration"].any()


def test_a_stride_must_fit_the_window():
  with pytest.raises(ValueError, match=r"stride=9 is not in 1\.\.7"):
    effective_rank.effective_rank(shown.context(), stride=9, window=8)
