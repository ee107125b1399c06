"""Filters over groups and edges."""

import numpy as np
import pytest

from rlx.rollout import filters, played
from tests import tiny


def found(rewards):
  """Groups of two single steps with these rewards."""
  rewards = np.array(rewards, np.float32)
  log = tiny.batch(rows=rewards.size, length=16, turns=1)
  log.prompt[:] = np.repeat(np.arange(len(rewards)), 2)
  log.reward[:, 0] = rewards.reshape(-1)
  return played.Played(
    record=log,
    success=rewards.reshape(-1) > 0,
    stop=["stop"] * rewards.size,
    parse_errors=np.zeros(rewards.size, np.int32),
    seconds={},
  )


def test_groups_of_equal_outcomes_are_dead():
  assert filters.alive(found([[1, 0], [1, 1], [0, 0]]), 2).tolist() == [
    True,
    False,
    False,
  ]


def test_ui_s1_keeps_groups_by_the_spread_of_their_first_returns():
  # uis1_group_filter_std(step0) of returns 1, 1.75, .55, by population.
  returns = np.array([[1.0, 1.75, 0.55], [1.0, 1.0, 1.0]])
  np.testing.assert_allclose(returns[0].std(), 0.494975, atol=2e-5)
  assert filters.spread(returns, 0.3).tolist() == [True, False]
  assert filters.spread(returns, 0.4949).tolist() == [True, False]
  assert filters.spread(returns, 0.495).tolist() == [False, False]


def test_a_group_of_one_is_kept_and_of_none_is_not():
  returns = np.array([[5.0, 1.0], [5.0, 1.0]])
  live = np.array([[True, False], [False, False]])
  assert filters.spread(returns, 0.3, live).tolist() == [True, False]
  assert filters.spread(np.ones((2, 1)), 0.3).tolist() == [True, True]


def test_pacore_keep():
  accuracy = np.array([0, 1 / 24, 8 / 24, 9 / 24, 1])
  assert filters.band(accuracy, 0.0, 9 / 24).tolist() == [
    False,
    True,
    True,
    False,
    False,
  ]
  assert filters.band(np.array([0, 0.5, 1.0])).tolist() == [False, True, False]
  with pytest.raises(ValueError, match="nothing is kept"):
    filters.band(accuracy, 0.5, 0.5)


def test_edges_without_an_advantage_are_dropped():
  # spotree_adv, whose kept edges are 1 to 4.
  advantages = np.array([0, 0.25, -0.25, 0.5, -0.5, 0, 0])
  assert np.flatnonzero(filters.edges(advantages)).tolist() == [1, 2, 3, 4]


def test_groups_that_are_left_keep_their_steps_and_lose_their_loss():
  log = found([[1, 0], [0, 1]]).record
  new = filters.leave(log, np.array([True, False]), 2)
  assert new.mask[:2].any(1).all()
  assert not new.mask[2:].any()
  assert log.mask.any(1).all()
  np.testing.assert_array_equal(new.turns, log.turns)
