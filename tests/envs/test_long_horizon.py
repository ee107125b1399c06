"""Long-horizon execution: its measures, and the running sum."""

import math

import numpy as np
import pytest

from rlx.envs import long_horizon, protocol
from rlx.envs import long_horizon_score as score

TASK = long_horizon.LongHorizon(turns=4)


def test_the_worked_example_of_the_accuracies():
  found = score.accuracies([5, -3, 7, 2], [5, 2, 10, 12])
  assert found.turn == [True, True, False, True]
  assert found.index == [True, True, False, False]
  assert found.prefix == [True, True, False, False]


def test_a_missing_answer_stands_for_the_sum_before():
  found = score.accuracies([5, 0, 7], [5, None, 12])
  assert found.turn == [True, True, True]
  assert found.index == [True, False, True]
  assert found.prefix == [True, False, False]


@pytest.mark.parametrize(
  ("step", "success", "expected", "first"),
  [(0.99, 0.5, 68.968, 69), (0.9, 0.5, 6.579, 7), (0.999, 0.8, 223.032, 224)],
)
def test_the_worked_examples_of_the_horizon(step, success, expected, first):
  assert score.expected_horizon(step, success) == pytest.approx(
    expected, abs=1e-3
  )
  assert score.horizon([step**t for t in range(1, 300)], success) == first


def test_what_never_fails_has_no_horizon():
  assert score.horizon([1.0, 0.5]) is None
  assert score.expected_horizon(1.0) == math.inf
  with pytest.raises(ValueError, match="step=0"):
    score.expected_horizon(0.0)
  with pytest.raises(ValueError, match="2 predictions of 1 values"):
    score.accuracies([1], [1, 2])


def test_the_interval_holds_the_horizon_and_closes_where_all_agree():
  same = np.tile([1.0, 1.0, 0.0], (8, 1))
  assert score.interval(same) == (3, 3)
  assert score.interval(np.ones((8, 3))) == (4, 4)
  lasts = np.random.default_rng(0).integers(1, 9, 40)
  prefix = (np.arange(1, 10) < lasts[:, None]).astype(float)
  low, high = score.interval(prefix)
  assert low <= (score.horizon(prefix.mean(0).tolist()) or 10) <= high
  assert low < high


def play(actions, task=TASK, index=0):
  episode = task.episode(index, "train")
  episode.reset(0)
  return [episode.step(action) for action in actions]


def test_it_is_a_task_that_can_be_continued_and_demonstrated():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK, protocol.Demonstrated)
  assert isinstance(TASK.episode(0, "train"), protocol.Restorable)


@pytest.mark.parametrize("keys", [1, 3])
def test_the_evidence_of_each_turn_is_its_accuracy(keys):
  task = long_horizon.LongHorizon(turns=6, keys=keys)
  values = task.execution(2, "train").values()
  true = np.cumsum(values)
  said = [true[0], true[1], true[2] + 4, None, true[4], true[5] + 1]
  actions = [
    "what" if x is None else f"so <answer> {x} </answer>" for x in said
  ]
  turns = play(actions, task, 2)
  right = score.accuracies(values, [x if x is None else int(x) for x in said])
  for name, want in (
    ("process", right.turn),
    ("correct", right.index),
    ("prefix", right.prefix),
  ):
    assert [x[4]["evidence"][name] for x in turns] == [float(x) for x in want]
  assert [x[1] for x in turns] == [x / 6 for x in right.index]
  assert [x[2] for x in turns] == [False] * 5 + [True]
  assert turns[3][4]["parse_error"]
  assert not turns[-1][4]["success"]


@pytest.mark.parametrize("pay", ["process", "correct", "prefix"])
def test_the_expert_is_paid_one_however_it_is_paid(pay):
  task = long_horizon.LongHorizon(turns=5, pay=pay)
  episode = task.episode(7, "test")
  episode.reset(0)
  place = episode.snapshot()
  for _ in range(2):
    turns = [episode.step(episode.expert_action()) for _ in range(5)]
    assert sum(x[1] for x in turns) == pytest.approx(1)
    assert turns[-1][4]["success"]
    episode.restore(place, 1)


@pytest.mark.parametrize(
  ("text", "want"),
  [
    ("<answer>-12</answer>", -12),
    ("<answer>1</answer> no, <answer>2</answer>", 2),
    (" +7 ", 7),
    ("it is 7", None),
    ("<answer>seven</answer>", None),
    ("9" * 10_000, None),
  ],
)
def test_a_sum_is_read_from_its_tag_or_alone(text, want):
  assert long_horizon.read_sum(text) == want


def test_a_dictionary_is_of_one_episode():
  table = lambda index, split: TASK.execution(index, split).table
  assert (
    table(0, "train")
    == long_horizon.LongHorizon(turns=4).execution(0, "train").table
  )
  assert table(0, "train") != table(1, "train")
  assert table(0, "train") != table(0, "test")
  assert len(table(0, "train")) == 20
  assert len({*long_horizon.WORDS}) == 100


def test_a_long_execution_takes_a_moment():
  task = long_horizon.LongHorizon(turns=5_000)
  episode = task.episode(0, "train")
  episode.reset(0)
  turns = [episode.step(episode.expert_action()) for _ in range(5_000)]
  assert turns[-1][4]["success"]


def test_demonstrations_are_as_good_as_their_skill():
  task = long_horizon.LongHorizon(turns=4, skill=1.0)
  actions = [action for _, action in task.demonstration(0, 0)]
  assert play(actions, task)[-1][4]["success"]
  poor = long_horizon.LongHorizon(turns=4, skill=0.0).demonstration(0, 0)
  assert not play([action for _, action in poor])[0][4]["evidence"]["process"]


def test_probes_differ_between_rates_in_the_answers_alone():
  clean = long_horizon.probes(turns=6)["test"][0]
  wrong = long_horizon.probes(turns=6, error_rate=1.0)["test"][0]
  said = lambda row, role: [
    m["content"] for m in row["prompt"] if m["role"] == role
  ]
  assert said(clean, "user") == said(wrong, "user")
  assert len(said(clean, "user")) == 6
  for a, b in zip(*(said(x, "assistant") for x in (clean, wrong)), strict=True):
    assert a != b
  assert clean["answer"] == wrong["answer"] == clean["answer_from_history"]
  assert wrong["answer_from_history"] != wrong["answer"]
  texts = [f"<answer>{clean['answer']}</answer>", "0 or so"]
  message = [[{"role": "assistant", "content": x}] for x in texts]
  for given in (texts, message):
    assert long_horizon.correct_sum(given, [clean["answer"]] * 2) == [1, 0]


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"turns": 0}, "turns=0"),
    ({"entries": 101}, "entries=101"),
    ({"skill": 2.0}, "skill=2.0"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    long_horizon.LongHorizon(**fields)


def test_an_impossible_rate_is_refused():
  with pytest.raises(ValueError, match="error_rate=2"):
    long_horizon.probes(error_rate=2.0)
