"""Reward functions of every shape, and what is said when they fail."""

import asyncio
import functools
import math

import numpy as np
import pytest

from rlx.rewards import adapters, combine, results

PROMPTS = ["one", "two", "three"]
TEXTS = ["a", "bb", "ccc"]
IDS = [[1], [1, 2], [1, 2, 3]]


def score(*functions, weights=None, prompts=PROMPTS, num_steps=None, **columns):
  return combine.score(
    functions, weights, prompts, TEXTS, IDS, columns, num_steps
  )


def length(completion_ids):
  return [float(len(ids)) for ids in completion_ids]


def exact(completions, answer, **kwargs):
  return [float(c == a) for c, a in zip(completions, answer, strict=True)]


def shy(completions):
  return [None, 2, None]


def test_the_total_is_the_weighted_sum_of_those_that_spoke():
  scores = score(length, shy, weights=[1.0, 0.5])
  assert scores.names == ("length", "shy")
  np.testing.assert_array_equal(
    scores.values, [[1, 2, 3], [math.nan, 2, math.nan]]
  )
  assert scores.total.tolist() == scores.outcome.tolist() == [1.0, 3.0, 3.0]
  assert scores.steps == [[], [], []]
  assert combine.summary(scores) == {
    "reward": pytest.approx(7 / 3),
    "reward_std": pytest.approx(math.sqrt(8 / 9)),
    "rewards/length/mean": 2.0,
    "rewards/length/std": pytest.approx(math.sqrt(2 / 3)),
    "rewards/shy/mean": 2.0,
    "rewards/shy/std": 0.0,
  }


def test_a_function_gets_the_keywords_it_accepts():
  seen = {}

  def everything(prompts, completions, completion_ids, **columns):
    seen.update(columns, prompts=prompts, ids=completion_ids)
    return [0.0] * 3

  scores = score(exact, everything, answer=["a", "", "ccc"], task=[1, 2, 3])
  assert scores.outcome.tolist() == [1.0, 0.0, 1.0]
  assert seen["answer"] == ["a", "", "ccc"]
  assert (seen["prompts"], seen["ids"]) == (PROMPTS, IDS)
  assert seen["task"] == [1, 2, 3]


def test_completions_of_chat_prompts_are_messages_as_in_trl():
  chats = [[{"role": "user", "content": text}] for text in PROMPTS]

  def content(completions):
    return [len(completion[0]["content"]) for completion in completions]

  assert score(content, prompts=chats).total.tolist() == [1.0, 2.0, 3.0]


def test_async_functions_run_together_even_inside_an_event_loop():
  started = []

  def waits(name):
    async def slow(completions):
      started.append(name)
      while len(started) < 2:
        await asyncio.sleep(0.001)
      return [1.0] * 3

    return slow

  async def main():
    return score(waits("x"), waits("y"), length)

  scores = asyncio.run(main())
  assert scores.names == ("slow", "slow#2", "length")
  assert scores.total.tolist() == [3.0, 4.0, 5.0]


def test_functions_log_metrics_and_columns():
  def logs(completions, log_metric, log_extra):
    log_metric("depth", 3)
    log_extra("seen", completions)
    return [0] * 3

  scores = score(logs)
  assert scores.metrics == {"rewards/logs/depth": 3.0}
  assert scores.extra == {"seen": TEXTS}
  assert combine.summary(scores)["rewards/logs/depth"] == 3.0


# Per-step rewards.


def by_step(completions):
  return [[1.0], [0.0, 2.0], None]


def test_per_step_rewards_stay_per_step():
  scores = score(by_step, by_step, length, weights=[1.0, 0.5, 10.0])
  assert scores.steps == [[1.5], [0.0, 3.0], []]
  assert scores.outcome.tolist() == [10.0, 20.0, 30.0]
  assert scores.total.tolist() == [11.5, 23.0, 30.0]
  np.testing.assert_array_equal(scores.values[0], [1, 2, math.nan])


def test_per_step_rewards_must_fit_the_steps():
  score(by_step, length, num_steps=[1, 2, 5])
  with pytest.raises(results.RewardError, match="2 per-step rewards for 3 st"):
    score(by_step, length, num_steps=[1, 3, 5])

  def other(completions):
    return [[1.0], [1.0], [1.0]]

  with pytest.raises(
    results.RewardError, match=r"2 and 1 per-step .* sample 1"
  ):
    score(by_step, other)

  def mixed(completions):
    return [[1.0], 2.0, None]

  with pytest.raises(
    results.RewardError, match=r"2.0 beside lists .* sample 1"
  ):
    score(mixed)


# Failures.


def returns(value):
  def reward(completions):
    return value

  return reward


@pytest.mark.parametrize(
  ("value", "match"),
  [
    ([1.0, 2.0], "'reward' returned 2 rewards for 3 completions"),
    ([1.0, math.nan, 0.0], r"'reward' returned nan on sample 1 \(prompt 'two'"),
    ([1.0, 0.0, -math.inf], r"returned -inf on sample 2 \(prompt 'three'"),
    ([1.0, "1", 0.0], r"returned '1' \(str\), not a number .* sample 1"),
    ([1.0, {}, 0.0], r"returned '{}' \(dict\), not a number .* sample 1"),
    ([[1.0], [[2.0]], [0.0]], r"returned '\[2.0\]' \(list\).* sample 1"),
    ([[1.0], [math.nan], [0.0]], "returned nan on sample 1"),
    (1.0, "'reward' returned a float, not a list of 3 numbers"),
    (None, "'reward' returned a NoneType, not a list"),
    ("abc", "'reward' returned a str, not a list"),
    ({0: 1.0}, "'reward' returned a dict, not a list"),
    ([None, 1.0, None], r"abstained on sample 0 .*\(2 of 3 samples in all\)"),
  ],
)
def test_a_bad_return_value_is_named(value, match):
  with pytest.raises(results.RewardError, match=match):
    score(returns(value))


@pytest.mark.parametrize(
  "value",
  [
    [1, True, 0.5],
    (1.0, 1.0, 0.5),
    np.array([1, 1, 0.5], np.float32),
    [np.float32(1), np.int64(1), np.array(0.5)],
  ],
)
def test_any_kind_of_number_is_a_number(value):
  assert score(returns(value)).total.tolist() == [1.0, 1.0, 0.5]


def test_an_exception_names_the_function_and_the_first_sample():
  def brittle(completions):
    return [1 / (len(c) - 2) for c in completions]

  match = r"'brittle' raised ZeroDivisionError: .* on sample 1 \(prompt 'two'\)"
  with pytest.raises(results.RewardError, match=match) as caught:
    score(length, brittle)
  assert isinstance(caught.value.__cause__, ZeroDivisionError)

  async def later(completions):
    return brittle(completions)

  with pytest.raises(results.RewardError, match=r"'later' .* on sample 1"):
    score(length, later)

  def crowd(completions):
    if len(completions) > 1:
      raise OSError("too many")
    return [0.0]

  with pytest.raises(results.RewardError, match="batch of 3, though on none"):
    score(crowd)


def test_a_long_prompt_is_shortened_in_errors():
  long = [{"role": "user", "content": "x" * 500}]
  with pytest.raises(results.RewardError, match=r"\(prompt 'x{76} \.\.\.'\)"):
    score(returns([math.nan, 0.0, 0.0]), prompts=[long] * 3)


def test_a_missing_column_is_known_before_any_completion():
  match = (
    r"'exact' needs the columns \['answer'\], .* has \['solution', 'task'\]"
  )
  with pytest.raises(ValueError, match=match):
    combine.check([length, exact], ["task", "solution"])
  with pytest.raises(ValueError, match=r"has \[\]"):
    score(exact)
  combine.check([exact], ["answer"])


def test_lengths_and_weights_must_agree():
  with pytest.raises(ValueError, match="2 answer for 3 prompts"):
    score(exact, answer=["a", "b"])
  with pytest.raises(ValueError, match="1 reward functions but 2 weights"):
    score(length, weights=[1.0, 2.0])
  with pytest.raises(ValueError, match="0 reward functions"):
    score()
  with pytest.raises(ValueError, match=r"columns named \['prompts'\]"):
    combine.score([length], None, PROMPTS, TEXTS, IDS, {"prompts": PROMPTS})


def test_rows_become_columns_without_the_prompt():
  rows = [{"prompt": "a", "answer": 1}, {"prompt": "b", "answer": 2, "x": 3}]
  assert combine.columns_of(rows) == {"answer": [1, 2], "x": [None, 3]}


def test_callable_objects_and_partials_have_names():
  class Judge:
    def __call__(self, completions):
      return [1.0] * 3

  def scaled(completions, by):
    return [by] * 3

  scores = score(Judge(), functools.partial(scaled, by=2.0))
  assert scores.names == ("Judge", "scaled")
  assert scores.total.tolist() == [3.0] * 3


# Other shapes.


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
  assert data_source == "letters"
  right = float(solution_str == ground_truth)
  return {"score": right, "acc": right, "note": "x"} if extra_info else right


def test_verl_functions_are_adapted():
  models = [{"style": "rule", "ground_truth": t} for t in ("a", "x", "ccc")]
  sources = ["letters"] * 3
  reward = adapters.from_verl(compute_score)
  scores = score(reward, data_source=sources, reward_model=models)
  assert scores.names == ("compute_score",)
  assert scores.total.tolist() == [1.0, 0.0, 1.0]
  scores = score(
    reward,
    data_source=sources,
    ground_truth=["a", "x", "ccc"],
    extra_info=[{"i": 0}] * 3,
  )
  assert scores.total.tolist() == [1.0, 0.0, 1.0]
  assert scores.metrics == {
    "rewards/compute_score/acc": pytest.approx(2 / 3),
  }


def test_functions_of_one_sample_are_adapted():
  def rubric(prompt, completion, answer):
    return float(prompt in PROMPTS and completion == answer)

  reward = adapters.per_sample(rubric)
  assert score(reward, answer=["a", "x", "ccc"]).total.tolist() == [1, 0, 1]
  assert score(reward, answer=["a", "x", "ccc"]).names == ("rubric",)
