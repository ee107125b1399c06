"""The metrics of a batch, by hand."""

import numpy as np
import pytest

from rlx.rollout import episodes, record, summary


def played(outcomes, turns=None, stops=None, success=None):
  """Trajectories of `turns` steps of 2 tokens; all is paid in the last step."""
  outcomes = np.asarray(outcomes, np.float32)
  rows = len(outcomes)
  turns = [1] * rows if turns is None else turns
  log = record.Record.empty(
    np.arange(rows) // 2, np.arange(rows) % 2, length=9, turns=3, version=0
  )
  log.observe(np.arange(rows), [[1, 2]] * rows)
  for row in range(rows):
    for turn in range(turns[row]):
      pair = np.array([[3, 4]])
      log.act(np.array([row]), pair, -pair, -pair, np.array([2]))
      last = turn + 1 == turns[row]
      log.pay(row, float(outcomes[row]) if last else 0.0, 0, 0, 0)
  return episodes.Played(
    record=log,
    success=outcomes > 0 if success is None else np.array(success),
    stop=stops or ["completed"] * rows,
    parse_errors=np.array([1] + [0] * (rows - 1), np.int32),
    seconds={},
    rewards={"rewards/exact/mean": 0.25},
  )


def test_the_metrics_are_those_worked_out_by_hand():
  found = summary.measure(
    played(
      [1, 0, 2, 2],
      turns=[1, 3, 2, 2],
      stops=["completed", "max_turns", "completed", "truncated"],
    ),
  )
  assert found == pytest.approx(
    {
      "reward": 1.25,
      "reward_std": 0.25,  # 1/2 in the first group and 0 in the second.
      "success": 0.75,
      "frac_reward_zero_std": 0.5,
      "completions/mean_length": 4.0,
      "completions/min_length": 2.0,
      "completions/max_length": 6.0,
      "completions/clipped_ratio": 0.5,
      "completions/mean_terminated_length": 3.0,
      "num_tokens": 24.0,
      "step/num_steps": 2.0,
      "step/step_length": 2.0,
      "step/reward": 5 / 8,
      "parse_errors": 1 / 8,
      "rewards/exact/mean": 0.25,
      "stop/completed": 0.5,
      "stop/max_turns": 0.25,
      "stop/truncated": 0.25,
    }
  )
  assert all(type(x) is float for x in found.values())


def with_failure(outcomes):
  """As `played`, but the environment of the last row failed."""
  found = played(outcomes)
  found.record.drop(len(outcomes) - 1)
  stops = [*found.stop[:-1], "environment_error"]
  return found._replace(stop=stops)


def test_an_episode_whose_environment_failed_is_in_no_statistic():
  found = summary.measure(with_failure([1, 0, 1, 1]))
  assert found["reward"] == pytest.approx(2 / 3)
  assert found["success"] == pytest.approx(2 / 3)
  assert found["completions/min_length"] == 2
  assert found["completions/clipped_ratio"] == 0
  assert found["stop/environment_error"] == 0.25
  assert found["frac_reward_zero_std"] == 0.5
  assert found["reward_std"] == 0.25


def test_a_failure_does_not_make_a_group_of_equals_a_living_one():
  assert summary.dead_groups(with_failure([0, 1, 1, 1]), 2).tolist() == [
    False,
    True,
  ]


def test_a_group_of_failures_is_dead_and_counts_nowhere():
  found = with_failure([0, 1, 1, 1])
  found.record.drop(2)
  assert summary.dead_groups(found, 2).tolist() == [False, True]
  assert summary.measure(found)["reward_std"] == 0.5


def test_rounding_is_no_signal():
  # 0.1 + 0.2 and 0.3 differ in the last bit of float32.
  nearly = np.array([0.3, np.nextafter(np.float32(0.3), np.float32(1))])
  assert summary.dead_groups(played(nearly), 2).tolist() == [True]


def test_nothing_that_ended_has_no_mean_length_to_tell():
  found = summary.measure(played([1, 0], stops=["max_tokens"] * 2))
  assert found["completions/mean_terminated_length"] == 0
  assert found["completions/clipped_ratio"] == 1


def test_where_nothing_is_whole_there_is_nothing_to_average():
  played = with_failure([1, 0, 1, 1])
  found = summary.measure(played._replace(whole=np.zeros(4, bool)))
  assert np.isnan(found["reward"])
  assert np.isnan(found["completions/min_length"])
  assert found["num_tokens"] > 0
