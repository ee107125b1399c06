"""Worked examples and hand tables of the links, and what padding may do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import credit


def run(estimator, table, signal=None):
  """Advantages of a table, compiled."""
  signal = table.reward if signal is None else jnp.asarray(signal)
  update = jax.jit(lambda x, t: estimator.update(x, estimator.init(), t)[0])
  return update(signal, table)


def group(*rewards, prompt=None):
  """A table of trajectories of one step."""
  return credit.step_table(
    trajectory=range(len(rewards)), reward=rewards, prompt=prompt
  )


def check(got, want):
  np.testing.assert_allclose(got, want, atol=2e-5)


BY = ("prompt",)


@pytest.mark.parametrize(
  "kwargs, rewards, want",
  [
    ({}, [1, 0, 1, 0], [0.866024, -0.866024, 0.866024, -0.866024]),
    ({"scale": None}, [1, 0, 1, 0], [0.5, -0.5, 0.5, -0.5]),
    (
      {"scale": None, "center": "loo"},
      [1, 0, 1, 0],
      [0.666667, -0.666667, 0.666667, -0.666667],
    ),
    ({}, [1, 0, 0, 0], [1.499997, -0.499999, -0.499999, -0.499999]),
    (
      {"scale": None, "center": "loo"},
      [1, 0, 0, 0],
      [1, -0.333333, -0.333333, -0.333333],
    ),
    ({}, [1, 1, 1, 1], [0, 0, 0, 0]),
    ({"lone": "raw"}, [1], [1]),
    ({"lone": "zero"}, [1], [0]),
    ({"center": None, "scale": None}, [1, 3], [1, 3]),
    # The rewards of NeMo#4161: no advantage in the thousands, none in zeros.
    ({}, [0.35] * 8, [0] * 8),
    ({}, [0.35] * 7 + [0.95], [-0.353552] * 7 + [2.474862]),
    ({"center": "loo"}, [0.35] * 8, [0] * 8),
    ({"center": None}, [0.35] * 8, [0] * 8),
  ],
)
def test_standardise_gives_the_worked_numbers(kwargs, rewards, want):
  check(run(credit.standardise(by=BY, **kwargs), group(*rewards)), want)


def test_groups_are_found_by_id_and_may_be_uneven():
  sizes, rewards = [4, 3, 4], [1, 0, 1, 0, 5, 5, 5, 1, 0, 0, 0]
  prompt = np.repeat([7, 3, 900_000_000], sizes)
  got = run(credit.standardise(by=BY), group(*rewards, prompt=prompt))
  a, b, c = 0.866024, 1.499997, -0.499999
  check(got, [a, -a, a, -a, 0, 0, 0, b, c, c, c])


def test_a_filtered_sibling_leaves_the_baseline():
  table = credit.step_table(
    trajectory=[0, 1, 2], reward=[1.0, 9.0, 0.0], weight=[1, 0, 1]
  )
  link = credit.standardise(by=BY, scale=None, vote="vote")
  check(run(link, table), [0.5, 0, -0.5])


def test_normalising_before_and_after_discounting_differ():
  table = credit.step_table(trajectory=[0, 0, 1], reward=[0.0, 1.0, 0.0])
  centre, back = credit.standardise(scale=None), credit.returns(0.5)
  check(run(credit.chain(centre, back), table), [0, 2 / 3, -1 / 3])
  check(run(credit.chain(back, centre), table), [0, 0.5, -0.5])


def test_a_mean_of_large_numbers_keeps_its_small_differences():
  got = run(credit.standardise(by=BY), group(4096.0, 4096.5, 4097.0))
  check(got, [-1, 0, 1])


def test_a_length_weighted_baseline_is_a_vote():
  table = credit.step_table(
    trajectory=range(4), reward=[1, 0, 1, 0], extras={"length": [2, 4, 6, 8]}
  )
  link = credit.standardise(by=BY, vote="length", scale=None)
  check(run(link, table), [0.6, -0.4, 0.6, -0.4])


def test_more_steps_do_not_give_a_trajectory_more_votes():
  short = credit.step_table(trajectory=[0, 1, 2], reward=[1.0, 0, 0])
  long = credit.step_table(trajectory=[0, 1, 1, 1, 2], reward=[1.0, 0, 0, 0, 0])
  link = credit.chain(
    credit.outcome(), credit.standardise(by=BY, vote="vote", scale="std")
  )
  check(run(link, long), run(link, short)[jnp.array([0, 1, 1, 1, 2])])


def test_whitening_is_over_live_rows_of_the_whole_batch():
  table = credit.step_table(
    trajectory=[0, 0, 9, 1, 1, 1],
    reward=[0, 1, 7, 0, 0, 0],
    weight=[1, 1, 0, 1, 1, 1],
  )
  link = credit.chain(credit.returns(), credit.whiten())
  a, b = 1.095445, -0.730297
  check(run(link, table), [a, a, 0, b, b, b])


def test_a_reward_goes_back_over_padding_without_a_discount():
  table = credit.step_table(
    trajectory=[0, 0, 0], reward=[0, 0, 1], weight=[1, 0, 1]
  )
  check(run(credit.returns(0.5), table), [0.5, 0, 1])


@pytest.mark.parametrize("holes", [0, 1, 5])
def test_rows_without_weight_between_steps_change_nothing(holes):
  trajectory = [0, *[0] * holes, 0, *[0] * holes, 0]
  live = [1, *[0] * holes, 1, *[0] * holes, 1]
  at = np.flatnonzero(live)
  reward, value = np.full(len(live), 9.0), np.full(len(live), 9.0)
  reward[at], value[at] = [0, 0, 1], [0.2, 0.5, 0.4]
  table = credit.step_table(
    trajectory=trajectory, reward=reward, value=value, weight=live
  )
  check(run(credit.gae(0.9, 0.8), table)[at], [0.46024, 0.292, 0.6])
  check(run(credit.returns(0.9), table)[at], [0.81, 0.9, 1])


@pytest.mark.parametrize(
  "discount, lambda_, want",
  [(1.0, 1.0, [0.8, 0.5, 0.6]), (0.9, 0.8, [0.46024, 0.292, 0.6])],
)
def test_gae_gives_the_worked_numbers(discount, lambda_, want):
  table = credit.step_table(
    trajectory=[0, 0, 0], reward=[0, 0, 1], value=[0.2, 0.5, 0.4]
  )
  check(run(credit.gae(discount, lambda_), table), want)


def test_gae_of_a_truncated_episode_takes_the_value_past_its_end():
  table = credit.step_table(
    trajectory=[0, 0, 0],
    reward=[0, 0, 0],
    value=[0.2, 0.5, 0.4],
    extras={"past_end": [9.0, 9.0, 0.4]},
  )
  check(run(credit.gae(bootstrap="past_end"), table), [0.2, -0.1, 0])


def test_gae_skips_an_observation_and_its_value():
  table = credit.step_table(
    trajectory=[0, 0, 0],
    reward=[0, 0, 1],
    value=[0.2, 9.0, 0.4],
    weight=[1, 0, 1],
  )
  check(run(credit.gae(), table), [0.8, 0, 0.6])


def test_value_targets_are_advantages_plus_values():
  table = credit.step_table(
    trajectory=[0, 0, 0], reward=[0, 0, 1], value=[0.2, 0.5, 0.4]
  )
  check(run(credit.lambda_returns(0.9, 0.8), table), [0.66024, 0.792, 1])
  assert credit.lambda_returns().init() == ()


def test_merge_averages_rows_of_one_key():
  table = credit.step_table(
    trajectory=[0, 1, 2], reward=[1.0, 3.0, 5.0], state=[4, 4, 6]
  )
  check(run(credit.merge(("state",)), table), [2, 2, 5])


def test_clip_limits_the_signal():
  check(run(credit.clip(2.0), group(-3.0, 1.0, 5.0)), [-2, 1, 2])


def test_chain_add_and_scale_compose():
  table = group(1.0, 0.0)
  double = credit.scale(credit.rewards(), 2.0)
  check(run(credit.add(double, credit.outcome()), table), [3, 0])
  check(run(credit.chain(double, double), table), [2, 0])
  check(run(credit.chain(), table), [1, 0])


def test_state_runs_through_chain_and_add():
  count = credit.Estimator(
    init=lambda: jnp.zeros(()),
    update=lambda x, state, steps: (x + state, state + 1),
  )
  both = credit.add(credit.chain(count, credit.scale(count, 2.0)), count)
  table = group(1.0, 2.0, 3.0)
  _, state = both.update(jnp.zeros(3), both.init(), table)
  signal, state = both.update(jnp.zeros(3), state, table)
  check(signal, [5, 5, 5])
  assert [float(x) for x in jax.tree.leaves(state)] == [2, 2, 2]


def test_advantages_are_constants():
  table = group(1.0, 0.0)
  link = credit.standardise()

  def f(reward):
    changed = dataclasses.replace(table, reward=reward)
    return credit.advantages(link, (), changed)[0].sum()

  check(jax.grad(f)(table.reward), [0, 0])


def test_an_unknown_column_is_named_and_the_present_ones_listed():
  table = credit.step_table(trajectory=[0], reward=[1], extras={"gain": [1]})
  with pytest.raises(ValueError, match=r"'stat'.*prompt.*weight, gain"):
    run(credit.standardise(by=("prompt", "stat")), table)


@pytest.mark.parametrize(
  "make, match",
  [
    (lambda: credit.returns(1.5), "discount=1.5"),
    (lambda: credit.gae(1.0, -0.1), "lambda_=-0.1"),
    (lambda: credit.lambda_returns(2.0), "discount=2.0"),
  ],
)
def test_a_wrong_argument_is_refused_with_its_value(make, match):
  with pytest.raises(ValueError, match=match):
    make()


@pytest.mark.parametrize(
  "kwargs, match",
  [
    ({"reward": [1, 2]}, r"reward has shape \(2,\), not \(3,\)"),
    ({"reward": [1, 2, 3], "colour": [1, 2, 3]}, "no column colour"),
  ],
)
def test_a_table_that_does_not_fit_is_refused(kwargs, match):
  with pytest.raises(ValueError, match=match):
    credit.step_table(trajectory=[0, 0, 1], **kwargs)
