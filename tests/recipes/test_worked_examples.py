"""Numbers of published methods, and the gradient they should have.

The fixture is one prompt with four trajectories of 3, 2, 4 and 2 steps that
succeed, fail, succeed and fail; the reward is paid on the last step. The
numbers were computed from the methods' official code.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, recipes

TRAJECTORY = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3]
STEPS = credit.step_table(
  trajectory=TRAJECTORY,
  reward=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0],
  state=[0, 1, 2, 0, 1, 0, 4, 1, 2, 0, 4],
)


def advantages(made, table=STEPS):
  return advantages_of(made.credit, table)


def advantages_of(link, table):
  state = link.init()
  return jax.jit(lambda t: credit.advantages(link, state, t)[0])(table)


def check(got, want):
  np.testing.assert_allclose(got, want, atol=2e-5)


def per_trajectory(values):
  return np.asarray(values)[TRAJECTORY]


A, B = 0.866024, 0.666667


@pytest.mark.parametrize(
  "made, want",
  [
    (recipes.grpo(), [A, -A, A, -A]),
    (recipes.grpo(scale=False), [0.5, -0.5, 0.5, -0.5]),
    (recipes.dr_grpo(), [0.5, -0.5, 0.5, -0.5]),
    (recipes.rloo(), [B, -B, B, -B]),
    (recipes.reinforce(), [1, 0, 1, 0]),
  ],
  ids=["grpo", "grpo-mean", "dr_grpo", "rloo", "reinforce"],
)
def test_trajectory_baselines(made, want):
  check(advantages(made), per_trajectory(want))


def test_reinforce_with_the_batch_as_baseline():
  made = recipes.reinforce(baseline=True)
  check(advantages(made), per_trajectory([4 / 11, -7 / 11, 4 / 11, -7 / 11]))


GIGPO = [1.775861, 1.443373, 0.866024, -1.731479, -2.020722, 1.687096]
GIGPO += [1.57313, 1.443373, 0.866024, -1.731479, -1.57313]
OFFICIAL = [1.630586, 1.298098, 0.720749, -2.126765, -2.416008, 1.541821]
OFFICIAL += [1.427854, 1.298098, 0.720749, -2.126765, -1.968416]
OFFICIAL_MEAN = [0.826168, 0.680303, 0.363636, -1.076332, -1.269697, 0.781043]
OFFICIAL_MEAN += [0.814886, 0.680303, 0.363636, -1.076332, -1.087614]


@pytest.mark.parametrize(
  "kwargs, want",
  [
    ({}, GIGPO),
    ({"vote": "step", "lone": "raw"}, OFFICIAL),
    ({"vote": "step", "lone": "raw", "scale": False}, OFFICIAL_MEAN),
    ({"step_weight": 0.0}, per_trajectory([A, -A, A, -A])),
  ],
  ids=["per trajectory", "official", "official mean", "no step credit"],
)
def test_gigpo(kwargs, want):
  check(advantages(recipes.gigpo(**kwargs)), want)


def test_a_lone_episode_keeps_its_outcome_on_request():
  table = credit.step_table(trajectory=[0, 0], reward=[0, 1], state=[1, 2])
  check(advantages(recipes.gigpo(), table), [0, 0])
  check(advantages(recipes.gigpo(lone="raw"), table), [1, 1])


token_table = jax.jit(credit.token_table, static_argnames="kl_in_reward")


def tokens(lengths, rewards, **kwargs):
  """The token table of one turn per sequence, all of its tokens chosen."""
  mask = jnp.arange(max(lengths))[None] < jnp.asarray(lengths)[:, None]
  zeros = jnp.zeros(mask.shape)
  ints = zeros.astype(jnp.int32)
  rows = jnp.arange(len(lengths), dtype=jnp.int32)[:, None]
  rollout = batch.Rollout(
    tokens=ints,
    valid=mask,
    mask=mask,
    log_probs=zeros,
    raw_log_probs=zeros,
    segment=jnp.where(mask, rows, -1),
    version=ints,
  )
  steps = credit.step_table(trajectory=range(len(lengths)), reward=rewards)
  return token_table(rollout, steps, **kwargs)


def test_reinforce_plus_plus():
  a, b = 1.095445, -0.730297
  got = advantages(recipes.reinforce_plus_plus(), tokens([2, 3], [1, 0]))
  check(got, [a, a, 0, b, b, b])


def test_ppo_and_its_value_targets():
  table = tokens([3], [1.0], values=jnp.array([[0.2, 0.5, 0.4]]))
  made = recipes.ppo(discount=0.9, lambda_=0.8, whiten=False)
  raw = np.array([0.46024, 0.292, 0.6])
  check(advantages(made, table), raw)
  assert made.value_targets is not None
  check(advantages_of(made.value_targets, table), [0.66024, 0.792, 1.0])
  white = (raw - np.mean(raw)) / np.std(raw, ddof=1)
  check(advantages(recipes.ppo(discount=0.9, lambda_=0.8), table), white)


def test_the_penalty_of_each_token_is_in_its_return():
  table = tokens(
    [3], [1.0], ref_log_probs=jnp.full((1, 3), -0.5), kl_in_reward=0.1
  )
  check(advantages(recipes.reinforce(), table), [0.85, 0.9, 0.95])


def expected_gradient(link, p, size=3):
  """Exact d(return)/d(logit) of one decision to go on, as `link` sees it.

  Each step pays 1; after the first the policy goes on with probability p, which
  adds a second step that decides nothing.
  """
  total, state = 0.0, link.init()
  update = jax.jit(lambda t: credit.advantages(link, state, t)[0])
  for choices in itertools.product([0, 1], repeat=size):
    # A row for each step that may be, of weight 0 where the policy stopped.
    live = np.array([[1, went_on] for went_on in choices])
    table = credit.step_table(
      trajectory=np.repeat(np.arange(size), 2),
      reward=np.ones(2 * size),
      state=np.tile([0, 1], size),
      weight=live.reshape(-1),
    )
    first = np.asarray(update(table))[::2]
    score = np.array(choices) - p
    likelihood = np.prod([p if c else 1 - p for c in choices])
    total += likelihood * np.mean(first * score)
  return total


@pytest.mark.parametrize("p", [0.2, 0.5])
@pytest.mark.parametrize(
  "made, factor",
  [
    (recipes.reinforce(), 1),
    (recipes.rloo(), 1),
    # A mean that includes the sample shrinks the gradient by (n - 1) / n.
    (recipes.dr_grpo(), 2 / 3),
    # Both parts of it see the decision.
    (recipes.gigpo(discount=1.0, scale=False), 4 / 3),
  ],
  ids=["reinforce", "rloo", "dr_grpo", "gigpo"],
)
def test_credit_is_unbiased_where_the_policy_decides_when_to_stop(
  made, factor, p
):
  check(expected_gradient(made.credit, p), factor * p * (1 - p))


def test_comparing_rewards_of_equal_turns_sees_no_decision_to_stop():
  biased = credit.standardise(by=("prompt", "index"), scale=None)
  check(expected_gradient(biased, 0.5), 0)
