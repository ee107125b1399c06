"""Recipes on second learners and on what is read off the policy itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, recipes
from tests import tiny

TRAJECTORY = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3]
token_table = jax.jit(credit.token_table)
LOG_RATIOS = np.array([2.0, 1, 3, -1, -2, 1, 0, 2, 1, -1, -2])


def table(**extras) -> batch.Steps:
  """One prompt with four trajectories, of which the first and third succeed."""
  return credit.step_table(
    trajectory=TRAJECTORY,
    reward=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0],
    extras=extras,
  )


def advantages(made, steps):
  state = made.credit.init()
  return jax.jit(lambda t: credit.advantages(made.credit, state, t)[0])(steps)


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


STEPS = table(implicit_reward=0.05 * LOG_RATIOS)


@pytest.mark.parametrize(
  "fields, want",
  [
    (
      {},
      [0.756667, 0.701667, 0.811667, -0.741667, -0.796667, 0.701667]
      + [0.646667, 0.756667, 0.701667, -0.741667, -0.796667],
    ),
    (
      {"center": "mean", "scale": True},
      [1.834539, 1.242668, 2.426409, -1.673119, -2.26499, 1.242668]
      + [0.650798, 1.834539, 1.242668, -1.673119, -2.26499],
    ),
  ],
  ids=["rloo", "grpo"],
)
def test_oprl_of_the_worked_example(fields, want):
  check(advantages(recipes.oprl(**fields), STEPS), want)


def steps_channel(**fields):
  """What the comparison between steps adds to that between trajectories."""
  with_, without = (
    advantages(recipes.oprl(step_weight=x, **fields), STEPS) for x in (1.0, 0.0)
  )
  return with_ - without


def test_oprl_compares_all_steps_of_a_prompt():
  want = [0.09, 0.035, 0.145, -0.075, -0.13, 0.035]
  want += [-0.02, 0.09, 0.035, -0.075, -0.13]
  check(steps_channel(), want)


def test_oprl_with_the_baseline_of_the_official_code():
  want = [0.116667, 0.05, 0.183333, -0.083333, -0.15, 0.05]
  want += [-0.016667, 0.116667, 0.05, -0.083333, -0.15]
  check(steps_channel(baseline="first_step"), want)


def test_oprl_of_a_lone_trajectory_has_no_baseline_of_first_steps():
  lone = credit.step_table(
    trajectory=[0, 0], reward=[0, 1], extras={"implicit_reward": [1, 2]}
  )
  for scale in (False, True):
    made = recipes.oprl(baseline="first_step", scale=scale)
    assert not advantages(made, lone).any()
  raw = recipes.oprl(baseline="first_step", lone="raw")
  check(advantages(raw, lone), [1, 1])


def test_oprl_of_a_group_that_failed_learns_from_its_steps():
  failed = dataclasses.replace(STEPS, outcome=jnp.zeros(11))
  got = np.asarray(advantages(recipes.oprl(), failed))
  check(got, steps_channel())


def test_oprl_without_steps_is_rloo():
  want = advantages(recipes.rloo(), STEPS)
  check(advantages(recipes.oprl(step_weight=0.0), STEPS), want)


def rollout(lengths) -> batch.Rollout:
  """One sequence a trajectory of `table`, steps apart by an observation."""
  segment = np.full((len(lengths), 12), -1)
  row = 0
  for line, steps in zip(segment, lengths, strict=True):
    at = 1
    for length in steps:
      line[at : at + length] = row
      at, row = at + length + 1, row + 1
  mask = jnp.asarray(segment >= 0)
  zeros = jnp.zeros(segment.shape)
  ints = zeros.astype(jnp.int32)
  return batch.Rollout(
    tokens=ints,
    valid=jnp.ones(mask.shape, bool),
    mask=mask,
    log_probs=zeros,
    raw_log_probs=zeros,
    segment=jnp.asarray(segment, jnp.int32),
    version=ints,
  )


def per_step(x, tokens: batch.Rollout):
  """The numbers of the last token chosen in each step."""
  segment = np.asarray(tokens.segment).reshape(-1)
  size = segment.max() + 1
  return [x[np.flatnonzero(segment == step)[-1]] for step in range(size)]


def test_spa_rl_of_the_worked_example():
  steps = credit.step_table(
    trajectory=[0, 0, 0],
    reward=[0, 0, 1],
    extras={"progress": [0.1, 0.5, 0.3], "grounded": [1, 0, 1]},
  )
  tokens = rollout([(2, 1, 3)])
  made = recipes.spa_rl(whiten=False)
  by_token = token_table(tokens, steps)
  assert by_token.extras["step_end"].sum() == 3
  returns = advantages(made, by_token)
  check(per_step(returns, tokens), [1.9, 1.3, 0.8])
  check(returns[1:3], [1.9, 1.9])  # Within a step nothing is paid.
  assert made.value_targets is not None
  targets = made.value_targets
  same = advantages(dataclasses.replace(made, credit=targets), by_token)
  check(same, returns)
  paid = advantages(recipes.spa_rl(whiten=False, lambda_=0.0), by_token)
  check(per_step(paid, tokens), [0.6, 0.5, 0.8])


def test_spa_rl_may_pay_the_last_step_for_being_grounded_in_any_case():
  steps = credit.step_table(
    trajectory=[0, 0, 1],
    reward=[0, 0, 1],
    extras={"progress": [0.1, 0.5, 0.3], "grounded": [0, 0, 0]},
  )
  tokens = rollout([(2, 1), (3,)])
  made = recipes.spa_rl(whiten=False, lambda_=0.0, last_grounded=True)
  got = advantages(made, token_table(tokens, steps))
  check(per_step(got, tokens), [0.1, 1.0, 0.8])


def test_verl_of_the_worked_example():
  link = credit.bonus("exploration", kappa=2.0)
  steps = credit.step_table(
    trajectory=range(3),
    reward=[0.866, -0.866, 0.1],
    extras={"exploration": [0.125231] * 3},
  )
  got, _ = credit.advantages(link, (), steps)
  check(got, [0.991231, -0.740769, 0.15])


EXPLORED = table(exploration=np.linspace(-1, 3, 11))


def test_verl_without_room_for_a_bonus_is_grpo():
  made = recipes.verl(kappa=float("inf"))
  check(advantages(made, EXPLORED), advantages(recipes.grpo(), EXPLORED), 0)


def test_verl_flips_no_sign_and_keeps_dead_groups_dead():
  base = np.asarray(advantages(recipes.grpo(), EXPLORED))
  got = np.asarray(advantages(recipes.verl(kappa=1.0), EXPLORED))
  assert (got >= base).all()
  assert (got * base >= 0).all()
  dead = dataclasses.replace(EXPLORED, outcome=jnp.ones(11))
  assert not advantages(recipes.verl(), dead).any()


def test_verl_can_pay_its_bonus_on_the_last_token_alone():
  tokens = rollout([(1, 2, 1), (2, 1), (1, 1, 1, 1), (1, 3)])
  by_token = token_table(tokens, EXPLORED)
  got = np.asarray(advantages(recipes.verl(placement="last"), by_token))
  base = np.asarray(advantages(recipes.grpo(), by_token))
  check(per_step(base, tokens), advantages(recipes.grpo(), EXPLORED))
  paid = np.flatnonzero(got - base)
  # The first trajectory has a negative Phi at its end.
  ends = [x for x in range(48) if by_token.weight[x] > by_token.continues[x]]
  phi = np.asarray(by_token.extras["exploration"])
  assert paid.tolist() == [x for x in ends if phi[x] > 0]


def test_kappa_must_be_positive():
  with pytest.raises(ValueError, match="kappa=0"):
    recipes.verl(kappa=0.0)


def test_fedmoa_weighs_the_advantages_of_objectives():
  right, brief = [1, 0, 1, 0], [0.2, 0.5, 0.1, 0.9]
  spread = lambda values: np.asarray(values, float)[TRAJECTORY]
  steps = table(
    **{"objective/right": spread(right), "weight/right": np.full(11, 0.7)},
    **{"objective/brief": spread(brief), "weight/brief": np.full(11, 0.3)},
  )
  z = lambda x: (np.array(x) - np.mean(x)) / (np.std(x, ddof=1) + 1e-6)
  want = spread(0.7 * z(right) + 0.3 * z(brief))
  made = recipes.fedmoa(objectives="right, brief")
  check(advantages(made, steps), want)


@pytest.mark.parametrize("bad", ["", "a,,b", "a,a"])
def test_objectives_must_have_names_of_their_own(bad):
  with pytest.raises(ValueError, match="names must differ"):
    recipes.fedmoa(objectives=bad)


def groups(outcomes) -> batch.Steps:
  """Three prompts with three trajectories of one or two steps."""
  length = [1, 2, 1, 2, 2, 1, 1, 1, 2]
  trajectory = np.repeat(np.arange(9), length)
  steps = credit.step_table(
    trajectory=trajectory,
    prompt=trajectory // 3,
    reward=np.zeros(len(trajectory)),
  )
  outcome = jnp.asarray(outcomes, jnp.float32)[trajectory]
  return dataclasses.replace(steps, outcome=outcome)


def by_trajectory(x, steps):
  return [x[np.flatnonzero(steps.trajectory == i)[0]] for i in range(9)]


A, B = 3.464096, 1.732048


@pytest.mark.parametrize(
  "outcomes, want",
  [
    ([1, 0, 0, 1, 1, 1, 0, 0, 0], [A, -B, -B, 0, 0, 0, 0, 0, 0]),
    (
      [1, 0, 0, 1, 1, 1, 0, 1, 0],
      [B, -B / 2, -B / 2, 0, 0, 0, -B / 2, B, -B / 2],
    ),
    ([1, 1, 1, 0, 0, 0, 1, 1, 1], [0] * 9),
  ],
  ids=["scaled", "replayed", "none alive"],
)
def test_rapo_of_the_worked_example(outcomes, want):
  steps = groups(outcomes)
  check(by_trajectory(advantages(recipes.rapo(), steps), steps), want)


def test_rapo_with_every_group_alive_is_grpo():
  steps = groups([1, 0, 0, 1, 1, 0, 0, 0.3, 0])
  want = advantages(recipes.grpo(), steps)
  check(advantages(recipes.rapo(), steps), want, 0)


def test_rapo_does_not_count_groups_of_padding():
  steps = groups([1, 0, 0, 1, 1, 1, 0, 0, 0])
  live = steps.prompt < 2
  steps = dataclasses.replace(steps, weight=live.astype(jnp.float32))
  got = by_trajectory(advantages(recipes.rapo(), steps), steps)
  check(got, np.array([A, -B, -B, 0, 0, 0, 0, 0, 0]) * 2 / 3)


LOG = tiny.batch(rows=8, length=24)


def test_the_second_learner_learns_inside_of_the_train_state():
  made = tiny.make_learner(tiny.policy(), recipes.oprl(), LOG)
  state = tiny.start(made)
  (old,) = tiny.host(state).evidence
  state, _, _ = made.update(state, None, LOG.rollout(), LOG.steps())
  (new,) = tiny.host(state).evidence
  assert jax.tree.structure(old) == jax.tree.structure(new)
  assert (old["count"], new["count"]) == (0, 1)
  assert (old["params"]["table"] != new["params"]["table"]).any()
