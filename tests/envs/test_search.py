"""The search environment: its questions can be answered, and are paid right."""

import numpy as np
import pytest

from rlx import tokenizer as tokenizers
from rlx.envs import protocol, search
from rlx.rollout.plans import erasing

TASK = search.Search(held_out=8)


def play(task, actions, index=0, split="train"):
  """Returns what each action was answered with."""
  episode = task.episode(index, split)
  episode.reset(seed=0)
  return [episode.step(action) for action in actions]


def evidence(turns, name):
  return [info["evidence"][name] for *_, info in turns]


def test_it_is_a_task_that_can_be_continued_erased_and_demonstrated():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK, protocol.Demonstrated)
  assert isinstance(TASK.episode(0, "train"), protocol.Restorable)
  assert isinstance(TASK.episode(0, "train"), erasing.Phased)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_every_question_is_answered_by_its_plan(hops):
  task = search.Search(hops=hops, turns=2 * hops + 1)
  for index in range(30):
    question = task.question(index, "train")
    turns = play(task, question.plan(), index)
    *_, (_, reward, terminated, truncated, info) = turns
    assert (terminated, truncated, info["success"]) == (True, False, True)
    # The answer is right, and so is each hop's query.
    np.testing.assert_allclose(reward, 1 + 0.618, atol=2e-5)
    shown = [text for text, *_ in turns]
    for hop, document in enumerate(question.gold):
      assert document in shown[2 * hop]
    gains = evidence(turns, "sub_answer_gain")
    # Two hops may have one answer.
    np.testing.assert_allclose(sum(gains), 1)
    # Found whole, up to how the title is counted.
    assert sum(evidence(turns, "information_gain")) > 0.95


def test_a_search_again_gains_nothing_and_is_redundant():
  question = TASK.question(0, "train")
  once, _, again = play(TASK, question.plan()[:1] * 3)
  assert once[4]["evidence"]["information_gain"] > 0.3
  assert once[4]["evidence"]["redundancy"] == 0
  assert again[4]["evidence"]["information_gain"] == 0
  assert again[4]["evidence"]["redundancy"] == 1


def test_searches_that_find_nothing_say_so():
  ((shown, *_, info),) = play(TASK, ["search"])
  assert shown == "none"
  assert set(info["evidence"].values()) == {0}


@pytest.mark.parametrize(
  ("actions", "parse_error"),
  [
    (["answer"], True),
    (["answer leli search leli"], True),
    (["answer answer leli"], True),
    (["ok"] * 6, False),
    (["search leli"] * 6, False),
  ],
)
def test_malformed_episodes_pay_minus_one(actions, parse_error):
  *_, (_, reward, terminated, truncated, info) = play(TASK, actions)
  assert reward == -1
  assert terminated == parse_error
  assert truncated != parse_error
  assert info["parse_error"] == parse_error
  assert not info["success"]


def test_an_answer_before_any_search_has_only_the_final_term():
  answer = TASK.question(0, "train").answers[-1]
  ((_, reward, terminated, _, info),) = play(TASK, [f"answer {answer}"])
  assert (reward, terminated) == (1, True)
  assert set(info["evidence"].values()) == {0}


def test_erl_is_paid_half_the_match_and_half_the_f1():
  task = search.Search(held_out=8, final="exact")
  answer = task.question(0, "train").answers[-1]
  assert play(task, [f"answer {answer}"])[0][1] == 1
  # Right, but not alone: F1 of 2/3, no match.
  got = play(task, [f"answer {answer} ok"])[0][1]
  np.testing.assert_allclose(got, 0.6667 / 2)


def test_an_action_that_cannot_be_read_is_answered():
  ((shown, reward, terminated, truncated, info),) = play(TASK, ["find leli"])
  assert (shown, reward, terminated, truncated) == ("what", 0, False, False)
  assert info["parse_error"]
  assert play(TASK, [""])[0][4]["parse_error"]


def test_an_episode_goes_on_from_a_snapshot():
  plan = TASK.question(0, "train").plan()
  episode = TASK.episode(0, "train")
  episode.reset(seed=0)
  episode.step(plan[0])
  place = episode.snapshot()
  want = [episode.step(action) for action in plan[1:]]
  other = TASK.episode(0, "train")
  other.restore(place, seed=9)
  assert [other.step(action) for action in plan[1:]] == want


def test_states_are_what_was_seen_and_noted():
  key = lambda actions: play(TASK, actions)[-1][4]["state_key"]
  plan = TASK.question(0, "train").plan()
  assert key([plan[0], plan[2]]) == key([plan[2], plan[0]])
  assert key([plan[0]]) == key([plan[0], plan[0]])
  assert key([plan[0]]) != key([plan[0], plan[1]])


def test_everything_said_is_made_of_its_words():
  tokenizer = tokenizers.WordTokenizer(TASK.words())
  for index in range(40):
    for seed in range(2):
      for shown, action in TASK.demonstration(index, seed):
        tokenizer.encode(shown)
        tokenizer.encode(action)


def test_held_out_questions_are_never_trained_on():
  test = {TASK.question(i, "test").text for i in range(TASK.num_test())}
  train = {TASK.question(i, "train").text for i in range(400)}
  assert len(test) == TASK.num_test()
  assert len(train) == 16 * 16 - 8
  assert not test & train


def test_the_corpus_depends_on_the_seed_alone():
  again = search.Search(held_out=8)
  assert again.question(3, "train") == TASK.question(3, "train")
  other = search.Search(held_out=8, seed=1)
  assert other.question(3, "train") != TASK.question(3, "train")


def test_demonstrations_are_as_good_as_their_skill():
  def share(skill):
    task = search.Search(held_out=8, skill=skill)
    won = 0
    for index in range(40):
      actions = [action for _, action in task.demonstration(index, 0)]
      won += play(task, actions, index)[-1][4].get("success", False)
    return won / 40

  assert share(1.0) == 1
  assert share(0.5) < 0.8


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"hops": 0}, "hops=0"),
    ({"people": 1}, "people=1"),
    ({"people": 2, "hops": 1, "held_out": 8}, "8 questions in all"),
    ({"skill": 1.5}, "skill=1.5"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=said):
    search.Search(**fields)
