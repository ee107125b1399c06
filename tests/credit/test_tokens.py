"""The step table of tokens, and credit carried back to tokens."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit


def rollout(mask, segment, **fields: Any) -> batch.Rollout:
  mask = jnp.asarray(mask, bool)
  zeros = jnp.zeros(mask.shape)
  ints = zeros.astype(jnp.int32)
  columns = {
    "tokens": ints,
    "valid": jnp.ones(mask.shape, bool),
    "mask": mask,
    "log_probs": zeros,
    "raw_log_probs": zeros,
    "segment": jnp.asarray(segment, jnp.int32),
    "version": ints,
  }
  return batch.Rollout(**columns | fields)


# Two trajectories; the first acts twice, with an observation between, and its
# second turn has a hole. The last row of the table is padding.
MASK = [[0, 1, 1, 0, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 0, 0]]
SEGMENT = [[-1, 0, 0, -1, 1, 1, 1, -1], [-1, 2, 2, 2, 3, -1, -1, -1]]
STEPS = credit.step_table(
  trajectory=[7, 7, 4, 4],
  prompt=[3, 3, 3, 3],
  reward=[0.5, 1.0, 2.0, 9.0],
  state=[11, 12, 13, 14],
  weight=[1, 1, 1, 0],
  extras={"gain": [1, 2, 3, 4]},
)
table = jax.jit(credit.token_table, static_argnames="kl_in_reward")


def grid(x):
  return np.asarray(x).reshape(2, 8).tolist()


def test_a_row_is_live_where_the_policy_chose_a_token():
  assert grid(table(rollout(MASK, SEGMENT), STEPS).weight) == MASK


def test_a_turns_reward_is_paid_on_its_last_chosen_token():
  got = table(rollout(MASK, SEGMENT), STEPS)
  assert grid(got.reward) == [
    [0, 0, 0.5, 0, 0, 0, 1, 0],
    [0, 0, 0, 2, 0, 0, 0, 0],
  ]


def test_chains_run_over_holes_and_end_with_the_last_chosen_token():
  got = table(rollout(MASK, SEGMENT), STEPS)
  assert grid(got.continues) == [
    [0, 1, 1, 0, 1, 0, 0, 0],
    [0, 1, 1, 0, 0, 0, 0, 0],
  ]
  assert grid(got.index) == [
    [0, 0, 1, 0, 2, 0, 3, 0],
    [0, 0, 1, 2, 0, 0, 0, 0],
  ]
  assert grid(got.parent) == [
    [-1, -1, 1, -1, 2, -1, 4, -1],
    [-1, -1, 9, 10, -1, -1, -1, -1],
  ]


def test_columns_of_the_turn_and_votes_of_the_trajectory_are_on_each_token():
  got = table(rollout(MASK, SEGMENT), STEPS)
  live = np.asarray(MASK, bool).reshape(-1)
  assert np.asarray(got.state)[live].tolist() == [11, 11, 12, 12, 13, 13, 13]
  assert np.asarray(got.outcome)[live].tolist() == [1.5] * 4 + [2.0] * 3
  assert np.asarray(got.extras["gain"])[live].tolist() == [1, 1, 2, 2, 3, 3, 3]
  np.testing.assert_allclose(got.vote[live], [1 / 4] * 4 + [1 / 3] * 3)


def test_discounted_returns_and_spread_take_rewards_to_tokens():
  link = credit.returns(0.5)
  advantages = jax.jit(lambda t: credit.advantages(link, (), t)[0])
  tokens = advantages(table(rollout(MASK, SEGMENT), STEPS))
  assert grid(tokens) == [
    [0, 0.375, 0.75, 0, 0.5, 0, 1.0, 0],
    [0, 0.5, 1.0, 2.0, 0, 0, 0, 0],
  ]
  steps = advantages(STEPS)
  segment = jnp.asarray(SEGMENT, jnp.int32)
  assert credit.spread(steps, segment).tolist() == [
    [0, 1, 1, 0, 1, 1, 1, 0],
    [0, 2, 2, 2, 0, 0, 0, 0],
  ]


def test_a_trajectory_split_into_a_row_per_turn_is_the_same_chain():
  mask = [[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 1]]
  segment = [[-1, 0, 0, -1], [1, 1, 1, -1], [-1, 2, 2, 2]]
  split = table(rollout(mask, segment), STEPS)
  whole = table(rollout(MASK, SEGMENT), STEPS)
  at = lambda t: jax.tree.map(lambda x: x[t.weight > 0], t)
  split, whole = (
    dataclasses.replace(at(t), parent=jnp.zeros(7, int)) for t in (split, whole)
  )
  jax.tree.map(np.testing.assert_array_equal, split, whole)


def test_a_sequence_in_which_nothing_was_chosen_has_no_row():
  """Nor is its reward in anybody's statistics (verl drops it in silence)."""
  got = table(rollout([MASK[0], [0] * 8], SEGMENT), STEPS)
  assert grid(got.weight)[1] == [0] * 8
  assert grid(got.reward)[1] == [0] * 8
  assert not np.asarray(got.extras["step_end"])[8:].any()
  white = credit.chain(credit.returns(1.0), credit.whiten())
  alone = credit.advantages(
    white, white.init(), table(rollout(MASK[:1], SEGMENT[:1]), STEPS)
  )[0]
  both = credit.advantages(white, white.init(), got)[0]
  np.testing.assert_allclose(both, [*alone, *[0] * 8], atol=2e-5)


def test_the_penalty_is_paid_on_chosen_tokens_only():
  log_probs = jnp.where(jnp.asarray(MASK, bool), -1.0, jnp.nan)
  reference = jnp.where(jnp.asarray(MASK, bool), -1.5, jnp.inf)
  got = table(
    rollout(MASK, SEGMENT, raw_log_probs=log_probs),
    STEPS,
    ref_log_probs=reference,
    kl_in_reward=0.1,
  )
  want = [[0, 0, 0.5, 0, 0, 0, 1, 0], [0, 0, 0, 2, 0, 0, 0, 0]]
  want = np.asarray(want) - 0.05 * np.asarray(MASK)
  np.testing.assert_allclose(grid(got.reward), want, atol=1e-6)


def test_a_penalty_needs_a_reference():
  with pytest.raises(ValueError, match=r"kl_in_reward=0.1 needs ref_log_probs"):
    credit.token_table(rollout(MASK, SEGMENT), STEPS, kl_in_reward=0.1)


def test_what_the_policy_did_not_choose_is_inert():
  mask = jnp.asarray(MASK, bool)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8)), jnp.float32)
  fill = lambda other: jnp.where(mask, x, other)

  @jax.jit
  def f(other):
    got = credit.token_table(
      rollout(MASK, SEGMENT, raw_log_probs=fill(other)),
      dataclasses.replace(STEPS, reward=STEPS.reward.at[3].set(other)),
      values=fill(other),
      ref_log_probs=fill(other) - 1,
      kl_in_reward=0.1,
    )
    return credit.advantages(credit.gae(0.9, 0.8), (), got)[0]

  for junk in (jnp.nan, jnp.inf, 1e30):
    np.testing.assert_array_equal(f(junk), f(0.0))
