"""Progress and the critic: linear functions of the features of steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rlx import credit
from rlx.evidence import chunks, critic, linear, progress
from tests.evidence import shown

after, loss_of = jax.jit(critic.after), jax.jit(progress.loss)


def test_the_loss_of_the_worked_example():
  steps = credit.step_table(trajectory=[0, 0, 0], reward=[0, 0, 1])
  loss = loss_of(jnp.array([0.1, 0.5, 0.3]), steps).compute()
  np.testing.assert_allclose(loss, 0.01, atol=2e-5)


def test_the_loss_has_one_vote_for_each_trajectory():
  # The sums are 0.3, -0.1 and so on: (1 - .3)^2, .1^2, ...
  c = 0.1 * jnp.array([1.0, 1, 1, 0, -1, 1, 1, 1, 1, 2, 2])
  loss = loss_of(c, shown.STEPS)
  want = ((1 - 0.3) ** 2 + 0.1**2 + (1 - 0.4) ** 2 + 0.4**2) / 4
  np.testing.assert_allclose(loss.compute(), want, atol=1e-6)
  np.testing.assert_allclose(loss.count, 4, rtol=1e-6)


def test_features_are_those_of_the_tokens_they_should_be():
  seen = shown.seen()
  rollout, steps = seen.rollout, seen.steps
  hidden = np.asarray(
    chunks.features(shown.MODEL, seen.params, rollout.tokens, rollout.valid)
  )
  unit = lambda x: x / np.linalg.norm(x)
  get = lambda at: np.asarray(
    linear.features(shown.context(50), seen.params, rollout, steps, at)
  )
  last, before = get("last"), get("before")
  for step in range(24):
    rows, places = np.nonzero(np.asarray(rollout.segment) == step)
    if not len(rows):
      assert not last[step].any()
      assert not before[step].any()
      continue
    row = rows[0]
    np.testing.assert_allclose(
      last[step], unit(hidden[row, places[-1]]), atol=1e-6
    )
    np.testing.assert_allclose(
      before[step], unit(hidden[row, places[0] - 1]), atol=1e-6
    )


@functools.cache
def regressor(frozen_after=None):
  each = progress.progress(
    shown.context(), updates=20, learning_rate=0.05, frozen_after=frozen_after
  )
  state = each.init(jax.random.key(0), shown.PARAMS)
  return state, jax.jit(each.update)


def test_contributions_come_to_sum_to_the_outcome():
  seen = shown.seen()
  state, update = regressor()
  losses, columns = [], {}
  for _ in range(10):
    state, columns, found = update(state, seen)
    losses.append(float(found["progress/loss"].compute()))
  assert losses[-1] < 0.1 * losses[0]
  total = jax.ops.segment_sum(columns["progress"], seen.steps.trajectory, 8)
  np.testing.assert_allclose(total, seen.steps.outcome[::3], atol=1.0)


def test_a_frozen_regressor_scores_and_does_not_learn():
  seen = shown.seen()
  state, update = regressor(frozen_after=1)
  first, columns, _ = update(state, seen)
  second, again, _ = update(first, seen)
  assert (first["count"], second["count"]) == (1, 2)
  assert first["params"]["weight"].any()
  np.testing.assert_array_equal(
    first["params"]["weight"], second["params"]["weight"]
  )
  np.testing.assert_array_equal(columns["progress"], again["progress"])


def test_the_critic_scores_before_it_learns():
  seen = shown.seen()
  each = critic.critic(shown.context(), updates=20, learning_rate=0.05)
  update = jax.jit(each.update)
  state = each.init(jax.random.key(0), shown.PARAMS)
  state, columns, first = update(state, seen)
  assert not columns["value_before"].any()
  found = first
  for _ in range(10):
    state, columns, found = update(state, seen)
  assert found["critic/loss"].compute() < 0.9 * first["critic/loss"].compute()


def test_the_value_after_a_step_is_that_before_the_next():
  value = jnp.arange(11.0)
  got = after(value, shown.STEPS)
  assert got.tolist() == [1, 2, 1, 4, 0, 6, 7, 8, 1, 10, 0]


def test_values_pass_over_padding():
  steps = credit.step_table(
    trajectory=[0, 0, 0], reward=[0, 0, 1], weight=[1, 0, 1]
  )
  assert after(jnp.array([5.0, 6, 7]), steps).tolist() == [7, 0, 1]
