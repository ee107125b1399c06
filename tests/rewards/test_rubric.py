"""Rubrics of `verifiers` plug in as they are."""

import asyncio
import math

import pytest

from rlx import config
from rlx.rewards import combine, results, rubric

PROMPTS, TEXTS = ["one", "two", "three"], ["1", "2", "0"]


def score(function, **columns):
  ids = [[]] * 3
  return combine.score([function], None, PROMPTS, TEXTS, ids, columns)


def right(completion, answer, **kwargs) -> float:
  return float(completion == answer)


async def short(completion) -> float:
  await asyncio.sleep(0.01)
  return 1.0 / (1 + len(completion))


def shy(completion, state):
  return None if state["info"] == {} else float(state["info"]["bonus"])


def silent(completion):
  return None


def test_the_reward_is_the_weighted_sum_of_those_that_spoke():
  made = rubric.Rubric([right, short, shy], [1.0, 0.5, 2.0])
  info = [{"bonus": 1}, {}, {"bonus": 0}]
  found = score(made, answer=["1", "x", "0"], info=info)
  assert found.names == ("Rubric",)
  assert found.total.tolist() == [3.25, 0.25, 1.25]
  assert found.metrics == {
    "rewards/Rubric/right": pytest.approx(2 / 3),
    "rewards/Rubric/short": 0.5,
    "rewards/Rubric/shy": 0.5,
  }


def test_weights_are_one_and_zero_only_logs():
  found = score(rubric.Rubric([right]), answer=["1", "1", "1"])
  assert found.total.tolist() == [1.0, 0.0, 0.0]
  found = score(rubric.Rubric([right, short], [1, 0]), answer=["1"] * 3)
  assert found.total.tolist() == [1.0, 0.0, 0.0]
  assert found.metrics["rewards/Rubric/short"] == 0.5


def test_what_the_data_lacks_is_empty_and_a_parser_is_handed_on():
  class Parser:
    def parse_answer(self, completion):
      return completion * 2

  def parsed(parser, completion, answer, task, info):
    assert (answer, task, info) == ("", "", {})
    return float(parser.parse_answer(completion))

  found = score(rubric.Rubric([parsed], parser=Parser()))
  assert found.total.tolist() == [11.0, 22.0, 0.0]


def test_a_rubric_that_only_abstains_abstains():
  with pytest.raises(results.RewardError, match="abstained"):
    score(rubric.Rubric([silent]))


@pytest.mark.parametrize(
  "value, message",
  [(math.nan, "odd returned nan"), ("1", "'1', which is no number")],
)
def test_what_is_no_number_is_an_error(value, message):
  def odd(completion):
    return value

  with pytest.raises(results.RewardError, match=message):
    score(rubric.Rubric([odd]))


def needy(level):
  return 0.0


def test_what_a_function_needs_must_be_there():
  with pytest.raises(results.RewardError, match="needy needs .'level'"):
    score(rubric.Rubric([needy]))


def test_rubrics_of_no_functions_or_other_weights_are_refused():
  with pytest.raises(ValueError, match="at least one function"):
    rubric.Rubric([])
  with pytest.raises(ValueError, match="one weight each"):
    rubric.Rubric([right], [1.0, 2.0])


def test_a_rubric_is_kept_in_a_file():
  from rlx.envs import arithmetic

  made = rubric.Rubric((arithmetic.correct_result,), (2.0,))
  assert config.from_json(config.to_json(made)) == made
