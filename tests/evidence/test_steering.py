"""Rewards of long tool use, and solved prompts."""

import numpy as np
import pytest

from rlx.evidence import steering


def reward(**fields):
  given = {
    "correct": True,
    "format_score": 1.0,
    "calls": 10,
    "unique_searches": 4,
    "redundant_searches": 2,
    "unique_queries": 1,
    "redundant_queries": 3,
  }
  return steering.steerable_reward(**(given | fields))


@pytest.mark.parametrize("correct, want", [(True, 0.6), (False, 0.125)])
def test_the_worked_example(correct, want):
  np.testing.assert_allclose(reward(correct=correct), want, atol=2e-5)


def test_without_a_call_nothing_was_idle():
  none = dict.fromkeys(("calls", "redundant_searches", "redundant_queries"), 0)
  np.testing.assert_allclose(reward(**none), 1.1)


def test_a_wrong_answer_can_lose_by_idle_calls():
  assert reward(correct=False, format_score=0.0, redundant_searches=9) < 0


def test_what_is_found_counts_up_to_a_cap():
  most = reward(correct=False, unique_searches=99, unique_queries=99)
  np.testing.assert_allclose(most, 0.1 + 0.2 + 0.2)


def test_prompts_that_are_nearly_always_right_are_solved():
  outcomes = np.array([[1.0] * 10, [1.0] * 9 + [0.0], [0.5] * 10])
  assert steering.solved(outcomes).tolist() == [True, True, False]
