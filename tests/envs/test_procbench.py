"""ProcBench: its measures, its procedures, and the state-a-turn environment."""

import itertools
import json
import random

import numpy as np
import pytest

from rlx.envs import procbench, protocol
from rlx.envs import procbench_lists as lists
from rlx.envs import procbench_score as score
from rlx.envs import procbench_strings as strings


def test_the_worked_example_of_the_measures():
  found = score.compare(list("abcd"), list("abxde"))
  assert (found.prefix, found.prefix_accuracy, found.ratio) == (2, 0.4, 0.6)
  assert not found.sequential
  assert not found.final


def test_the_original_draws_the_same_cumulation():
  problem = lists.cumulate(random.Random(1), 4)
  assert problem.initial == 4
  assert "Add 7, Multiply 4, Multiply 4, Add 6" in problem.given
  assert problem.states == [11, 44, 176, 182]


@pytest.mark.parametrize(
  ("true", "written", "want"),
  [
    # The checks in the original's code.
    (5, "5", True),
    ("21", 21, True),
    (5, "55", False),
    (231, [231], False),
    ("abc", None, False),
    ("fe a t", "feat", False),
    (["abc", "de"], ["abc", "de"], True),
    ([1, 3, 5], ["1", "3", "5"], True),
    (["abc", "de", "f"], ["abc", "de"], False),
    (["abc", "de"], [None, "de"], False),
    ([1], 1, False),
    (1, True, False),
  ],
)
def test_states_are_compared_as_the_true_ones_type(true, written, want):
  assert score.same(true, written) is want


def test_a_final_state_said_twice_counts_once():
  assert score.sequence([1, 2, 3], 3) == [1, 2, 3]
  assert score.sequence([1, 2], 3) == [1, 2, 3]
  text = 'So {"x": {}} and {"intermediate": ["a", "b"], "final": "b"}.'
  assert score.read_answer(text) == ["a", "b"]
  deep = '{"intermediate": ' + "[" * 100_000
  some = '{"final": 1}', '{"intermediate": 1, "final": 1}'
  for wrong in ("", "[1]", *some, deep):
    assert score.read_answer(wrong) is None


@pytest.mark.parametrize(
  ("text", "want"),
  [
    (' "ab" ', "ab"),
    ("ab c", "ab c"),
    ("12", 12),
    ("0011", "0011"),
    ("1e5", "1e5"),
    ("null", "null"),
    ('["a", 1]', ["a", 1]),
    ("", None),
    ("[" * 9999, "[" * 9999),
  ],
)
def test_a_state_is_json_or_plain_text(text, want):
  assert score.read_state(text) == want


def test_there_are_23_procedures_of_any_number_of_steps():
  names = [f.__name__ for f in procbench.PROCEDURES]
  assert len({*names}) == len(names) == 23
  for make in procbench.PROCEDURES:
    for steps in (2, 7, 25):
      problem = make(random.Random(steps), steps)
      assert len(problem.states) == steps
      # A state that is written as it should be is read as it was meant.
      for state in problem.states:
        assert score.same(state, score.read_state(score.write(state)))


@pytest.mark.parametrize("seed", range(5))
def test_procedures_do_what_they_say(seed):
  draw = lambda make, steps=6: make(random.Random(seed), steps)
  assert draw(strings.sort).states[-1] == "".join(
    sorted(draw(strings.sort).initial)
  )
  for a, b in itertools.pairwise(
    [draw(strings.sort).initial, *draw(strings.sort).states]
  ):
    assert sum(x != y for x, y in zip(a, b, strict=True)) == 2
  runs = draw(lists.split2)
  assert all("".join(parts) == runs.initial[0] for parts in runs.states)
  code = draw(strings.encode).states[-1]
  text = draw(strings.encode).given.removeprefix("String: ")
  assert (
    "".join(c * int(n) for c, _, n in (x.partition("_") for x in code)) == text
  )
  *rows, total = draw(lists.count).states
  assert total == sum(row[3] for row in rows)
  words = draw(lists.delete_word)
  assert len(words.initial.split()) - len(words.states[-1].split()) == 6


TASK = procbench.ProcBench()


def play(actions, index=0):
  episode = TASK.episode(index, "train")
  episode.reset(0)
  return [episode.step(action) for action in actions]


def right(index=0):
  *states, last = TASK.problem(index, "train").states
  return [*map(json.dumps, states), f"final {json.dumps(last)}"]


def test_it_is_a_task_that_can_be_continued_and_demonstrated():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK, protocol.Demonstrated)
  assert isinstance(TASK.episode(0, "train"), protocol.Restorable)


def test_following_the_procedure_is_paid_one_in_equal_steps():
  for index in range(10):
    turns = play(right(index), index)
    rewards = [reward for _, reward, *_ in turns]
    np.testing.assert_allclose(rewards, 1 / len(turns))
    assert all(info["evidence"]["process"] for *_, info in turns)
    *_, terminated, truncated, info = turns[-1]
    assert (terminated, truncated, info["success"]) == (True, False, True)


def test_what_is_paid_adds_up_to_the_prefix_accuracy():
  states = right()
  wrong = [states[0], '"no"', *states[1:]]
  turns = play(wrong)
  np.testing.assert_allclose(sum(x[1] for x in turns), 1 / len(wrong))
  assert [x[4]["evidence"]["process"] for x in turns[:3]] == [1, 0, 0]
  assert not turns[-1][4]["success"]


def test_nobody_goes_on_for_ever():
  turns = play([""] * TASK.max_turns)
  assert turns[0][4]["parse_error"]
  assert turns[-1][2:4] == (False, True)
  assert sum(x[1] for x in turns) == 0


def test_the_expert_is_right_also_from_a_snapshot():
  episode = TASK.episode(3, "test")
  episode.reset(0)
  episode.step(episode.expert_action())
  place = episode.snapshot()
  episode.step("nothing of the kind")
  episode.restore(place, 1)
  while True:
    _, _, terminated, _, info = episode.step(episode.expert_action())
    if terminated:
      break
  assert info["success"]


def test_demonstrations_are_as_good_as_their_skill():
  perfect = procbench.ProcBench(skill=1.0).demonstration(0, 0)
  assert [action for _, action in perfect] == right()
  poor = procbench.ProcBench(skill=0.0).demonstration(0, 0)
  assert len(poor) == len(perfect)


def test_the_split_is_of_the_problems_and_the_draws_do_not_change():
  train = {TASK.problem(i, "train").given for i in range(200)}
  test = {TASK.problem(i, "test").given for i in range(50)}
  assert not train & test
  assert TASK.problem(5, "train") == procbench.ProcBench().problem(5, "train")
  other = procbench.ProcBench(seed=1)
  assert TASK.problem(5, "train") != other.problem(5, "train")


def test_whole_answers_are_scored_by_their_states():
  rows = procbench.problems(procedures=("cumulate",), size=4)["train"]
  row = rows[0]
  *middle, final = row["states"]
  wrong = json.dumps({"intermediate": [*middle[:-1], -1], "final": final})
  texts, states = [row["completion"], wrong, "?"], [row["states"]] * 3
  n = len(row["states"])
  want = [1, (n - 2) / n, 0]
  assert procbench.prefix_accuracy(texts, states) == pytest.approx(want)
  assert procbench.sequential_match(texts, states) == [1, 0, 0]
  assert procbench.final_match(texts, states) == [1, 1, 0]
  with pytest.raises(IndexError, match="row 4 of 4"):
    rows[4]


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"procedures": ("sort", "sotr")}, "no 'sotr'; there are sort, gather"),
    ({"shortest": 1}, "shortest=1"),
    ({"longest": 26}, "longest=26"),
    ({"held_out": 0}, "held_out=0"),
    ({"skill": 2.0}, "skill=2.0"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    procbench.ProcBench(**fields)
