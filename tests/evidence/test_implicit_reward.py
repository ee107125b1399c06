"""Implicit step rewards: numbers, the gradient in two passes, and learning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.evidence import chunks, implicit_reward, second_policy
from tests.evidence import shown

dpo_loss = jax.jit(
  implicit_reward.dpo_loss, static_argnames=("most", "score", "threshold")
)
LOG_RATIOS = jnp.array([2.0, 1, 3, -1, -2, 1, 0, 2, 1, -1, -2])
WINS = [2, 0, 1, 0, 1, 1, 0, 2]  # Trajectory 3 was dropped.


@pytest.mark.parametrize("score, want", [("sum", 0.513316), ("mean", 0.621035)])
def test_dpo_of_the_worked_example(score, want):
  loss, found = dpo_loss(0.05 * LOG_RATIOS, shown.STEPS, most=4, score=score)
  np.testing.assert_allclose(loss, want, atol=2e-5)
  assert found["implicit_reward/loss"].count == 4  # Pairs.


def test_a_success_is_an_outcome_above_the_threshold():
  _, found = dpo_loss(LOG_RATIOS, shown.STEPS, most=4, threshold=1.0)
  assert found["implicit_reward/loss"].count == 0


def test_without_a_pair_there_is_no_loss_and_no_gradient():
  steps = shown.outcomes(shown.seen(), np.ones(8)).steps
  loss = lambda x: dpo_loss(x, steps, most=8)[0]
  value, grad = jax.jit(jax.value_and_grad(loss))(jnp.ones(24))
  assert value == 0
  assert not grad.any()


def test_only_trajectories_of_one_prompt_are_compared():
  # All of the first prompt succeed and all of the second fail.
  steps = shown.outcomes(shown.seen(), [1, 1, 1, 1, 0, 0, 0, 0]).steps
  assert dpo_loss(jnp.ones(24), steps, most=8)[0] == 0


def direct(params, seen, beta):
  """The loss with all logits at once."""
  rollout = seen.rollout
  hidden = chunks.features(shown.MODEL, params, rollout.tokens, rollout.valid)
  logits = jax.nn.log_softmax(shown.MODEL.logits(params, hidden[:, :-1]) / 0.7)
  tokens = rollout.tokens[:, 1:, None]
  new = jnp.take_along_axis(logits, tokens, axis=-1)[..., 0]
  gap = jnp.pad(new, ((0, 0), (1, 0))) - seen.old_log_probs
  sums = implicit_reward.step_sums(gap, rollout.mask, rollout, seen.steps)
  return dpo_loss(beta * sums, seen.steps, most=8)[0]


@functools.cache
def made(learning_rate=1e-2, tokens=0):
  context = shown.context(tokens, temperature=0.7)
  each = implicit_reward.implicit_reward(
    context, beta=0.5, learning_rate=learning_rate
  )
  return each, jax.jit(each.update)


def test_the_gradient_in_two_passes_is_that_of_the_loss():
  seen = shown.outcomes(shown.seen(), WINS)
  want = jax.jit(jax.grad(direct))(shown.PARAMS, seen, 0.5)
  each, update = made(tokens=50)
  state = each.init(jax.random.key(0), shown.PARAMS)
  new, _, found = update(state, seen)
  norm = jnp.linalg.norm(want["table"])
  got = found["implicit_reward/grad_norm"].compute()
  np.testing.assert_allclose(got, norm, rtol=1e-5)
  # After one step Adam's mean is a tenth of the gradient.
  mean = new["opt_state"][1][0].mu["table"] / 0.1
  np.testing.assert_allclose(mean, want["table"], atol=1e-6)


def test_rewards_start_at_zero_and_come_after_the_update():
  seen = shown.outcomes(shown.seen(), WINS)
  mask = chunks.chosen(seen.rollout, seen.steps)
  context = shown.context(temperature=0.7)
  old = jax.jit(functools.partial(second_policy.log_probs, context))(
    shown.PARAMS, seen.rollout, mask
  )
  seen = seen._replace(old_log_probs=old)
  each, update = made()
  state = each.init(jax.random.key(0), shown.PARAMS)
  all_won = shown.outcomes(seen, np.ones(8))
  same, columns, _ = update(state, all_won)
  np.testing.assert_allclose(columns["implicit_reward"], 0, atol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, same["params"], state["params"])
  assert same["count"] == 1
  _, columns, _ = update(state, seen)
  assert np.abs(columns["implicit_reward"]).max() > 1e-3


def test_a_batch_without_a_pair_does_not_let_momentum_move_it():
  seen = shown.outcomes(shown.seen(), WINS)
  each, update = made()
  state, _, _ = update(each.init(jax.random.key(0), shown.PARAMS), seen)
  new, _, _ = update(state, shown.outcomes(seen, np.zeros(8)))
  assert new.pop("count") == 2
  state.pop("count")
  jax.tree.map(np.testing.assert_array_equal, new, state)


def test_it_learns_to_rank_success_above_failure():
  seen = shown.outcomes(shown.seen(), WINS)
  each, update = made()
  state = each.init(jax.random.key(0), shown.PARAMS)
  right, columns = [], {}
  for _ in range(60):
    state, columns, found = update(state, seen)
    right.append(float(found["implicit_reward/accuracy"].compute()))
  assert right[-1] == 1.0 > right[0]
  steps = seen.steps
  total = jax.ops.segment_sum(columns["implicit_reward"], steps.trajectory, 8)
  assert total[0] > total[1]
  assert total[7] > total[6]
