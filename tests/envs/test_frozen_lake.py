"""FrozenLake as text: Gymnasium's own game, on maps that are kept apart."""

import dataclasses
import random

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text import frozen_lake as toy_text

from rlx import tokenizer
from rlx.envs import frozen_lake, protocol

TASK = frozen_lake.FrozenLake(size=4, held_out=40)


def test_it_is_a_task_and_its_episodes_are_episodes():
  assert isinstance(TASK, protocol.Task)
  assert isinstance(TASK.episode(0, "train"), protocol.Episode)
  assert TASK.max_turns == 12


def picture(lake, state):
  """The map as text, written out again from the rules in the docstring."""
  rows = [list(row) for row in lake]
  row, column = divmod(state, len(lake))
  symbols = {"S": ".", "F": ".", "H": "O", "G": "G"}
  drawn = [[symbols[x] for x in row] for row in rows]
  drawn[row][column] = "X" if rows[row][column] == "H" else "A"
  return "\n".join(" ".join(row) for row in drawn)


@pytest.mark.parametrize("index", range(6))
def test_every_step_agrees_with_gymnasium(index):
  lake = TASK.map(index, "train")
  theirs = gymnasium.make("FrozenLake-v1", desc=list(lake), is_slippery=False)
  ours, rng = TASK.episode(index, "train"), random.Random(index)
  for trial in range(4):
    state, _ = theirs.reset(seed=trial)
    text, info = ours.reset(seed=trial)
    assert text == picture(lake, state)
    assert info["state_key"] == f"cell {state}"
    for _ in range(12):
      action = rng.randrange(4)
      state, reward, terminated, _, _ = theirs.step(action)
      found = ours.step(frozen_lake.ACTIONS[action])
      assert found[0] == picture(lake, state)
      assert found[1:4] == (reward, terminated, False)
      assert found[4]["state_key"] == f"cell {state}"
      if terminated:
        assert found[4]["success"] == (reward == 1)
        break
  theirs.close()


def test_slippery_lakes_slip_as_gymnasiums_do():
  task = dataclasses.replace(TASK, slippery=True)
  lake = task.map(1, "train")
  theirs = gymnasium.make("FrozenLake-v1", desc=list(lake), is_slippery=True)
  ours = task.episode(1, "train")
  theirs.reset(seed=5)
  ours.reset(seed=5)
  for action in (1, 2, 1, 2, 0, 3):
    state, _, terminated, _, _ = theirs.step(action)
    assert ours.step(frozen_lake.ACTIONS[action])[0] == picture(lake, state)
    if terminated:
      break
  theirs.close()


@pytest.mark.parametrize("text", ["", "north", "left right", "up up", "A ."])
def test_what_is_no_action_costs_and_leaves_the_state(text):
  episode = TASK.episode(0, "train")
  shown, _ = episode.reset(seed=0)
  again, reward, terminated, truncated, info = episode.step(text)
  assert (again, reward, terminated, truncated) == (shown, -0.1, False, False)
  nothing = dict.fromkeys(TASK.evidence, 0.0)
  assert info == {
    "parse_error": True,
    "state_key": "cell 0",
    "evidence": nothing,
  }


@pytest.mark.parametrize("text", ["right", " Right ", "RIGHT\n"])
def test_case_and_spaces_do_not_matter(text):
  episode = TASK.episode(0, "train")
  episode.reset(seed=0)
  assert "parse_error" not in episode.step(text)[4]


def test_held_out_maps_are_distinct_solvable_and_never_trained_on():
  test = [TASK.map(i, "test") for i in range(TASK.num_test())]
  assert len(set(test)) == TASK.num_test() == 40
  train = {TASK.map(i, "train") for i in range(300)}
  assert len(train) > 100
  assert not train & set(test)
  for lake in test:
    assert lake[0][0] == "S"
    assert lake[-1][-1] == "G"
    assert (0, 0) in frozen_lake._distances(lake)


def test_small_lakes_are_held_out_from_training_too():
  # There are three lakes of size 2 in which the goal can be reached.
  task = frozen_lake.FrozenLake(size=2, frozen=0.5, held_out=2)
  test = {task.map(i, "test") for i in range(2)}
  train = {task.map(i, "train") for i in range(50)}
  assert len(test) == 2
  assert len(train) == 1
  assert test | train == {("SF", "FG"), ("SF", "HG"), ("SH", "FG")}


def test_maps_are_drawn_by_gymnasiums_generator_from_the_index():
  draw = toy_text.generate_random_map
  assert TASK.map(0, "test") == tuple(draw(4, 0.8, seed=0))
  # Training has seeds far from those of what is held out.
  first = TASK.map(7, "train")
  seeds = range(2**32 + 7 * 10_007, 2**32 + 7 * 10_007 + 50)
  assert first in [tuple(draw(4, 0.8, seed=seed)) for seed in seeds]


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"size": 1}, "size=1"),
    ({"turns": 0}, "turns=0"),
    ({"held_out": 0}, "held_out=0"),
    ({"frozen": 1.5}, r"frozen=1.5: must be in \[0, 1\]"),
    ({"skill": -0.1}, "skill=-0.1"),
  ],
)
def test_impossible_lakes_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    frozen_lake.FrozenLake(**fields)


def test_more_held_out_maps_than_there_are_is_refused_with_both_numbers():
  task = frozen_lake.FrozenLake(size=2, frozen=0.5, held_out=4)
  with pytest.raises(ValueError, match="held_out=4.* only 3 distinct"):
    task.map(0, "test")


def test_holding_out_every_map_leaves_none_to_train_on():
  task = frozen_lake.FrozenLake(size=2, frozen=0.5, held_out=3)
  with pytest.raises(ValueError, match="held_out=3 holds out every lake"):
    task.map(0, "train")


@pytest.mark.parametrize("skill, low, high", [(1.0, 1, 1), (0.6, 0.62, 0.8)])
def test_demonstrations_have_the_skill_asked_for(skill, low, high):
  """A random move is optimal by chance too: about a quarter of the time."""
  task = dataclasses.replace(TASK, skill=skill)
  best = []
  for index in range(120):
    lake = task.map(index, "train")
    distance = frozen_lake._distances(lake)
    for shown, word in task.demonstration(index, seed=3):
      cell = divmod(shown.split().index("A"), task.size)
      near = [
        distance.get(frozen_lake._moved(lake, cell, a), 99) for a in range(4)
      ]
      best.append(near[frozen_lake.ACTIONS.index(word)] == min(near))
  assert low <= np.mean(best) <= high


def test_a_perfect_player_arrives_in_the_fewest_moves():
  task = dataclasses.replace(TASK, skill=1.0)
  for index in range(20):
    lake = task.map(index, "train")
    moves = task.demonstration(index, seed=0)
    assert len(moves) == frozen_lake._distances(lake)[0, 0]
    episode = task.episode(index, "train")
    shown, _ = episode.reset(seed=0)
    last = None
    for seen, word in moves:
      assert seen == shown
      shown, *last = episode.step(word)
    assert last is not None
    assert last[:2] == [1.0, True]


def test_demonstrations_depend_on_index_and_seed_alone():
  assert TASK.demonstration(5, 1) == TASK.demonstration(5, 1)
  others = [TASK.demonstration(5, seed) for seed in range(8)]
  assert len({tuple(x) for x in others}) > 1
  assert all(len(x) <= TASK.turns for x in others)


def test_every_word_is_in_the_vocabulary():
  words = tokenizer.WordTokenizer(TASK.words())
  for index in range(20):
    episode = TASK.episode(index, "train")
    words.encode(episode.reset(seed=0)[0])
    for action in ("down", "right", "down", "down"):
      shown, _, terminated, _, _ = episode.step(action)
      words.encode(shown)
      if terminated:
        break


def test_evidence_is_that_of_the_shortest_way():
  """On the map S F / H G: right and then down."""
  lake = ("SF", "HG")
  task = dataclasses.replace(TASK, size=2, held_out=1)
  index = next(i for i in range(200) if task.map(i, "train") == lake)
  episode = task.episode(index, "train")
  episode.reset(seed=0)
  told = [
    episode.step(word)[4]["evidence"]
    for word in ("left", "up", "nothing", "right", "down")
  ]
  assert [x["matched"] for x in told] == [0, 0, 0, 1, 1]
  assert [x["process"] for x in told] == [0, 0, 0, 1, 1]
  assert [x["grounded"] for x in told] == [1, 1, 0, 1, 1]


@pytest.mark.parametrize("index", range(4))
def test_the_expert_gets_there_by_the_shortest_way(index):
  episode = TASK.episode(index, "train")
  assert isinstance(episode, frozen_lake.LakeEpisode)
  episode.reset(seed=0)
  reward = 0.0
  for _ in range(TASK.max_turns):
    assert episode.hint() == episode.expert_action()
    _, reward, over, _, info = episode.step(episode.expert_action())
    assert info["evidence"] == dict.fromkeys(TASK.evidence, 1.0)
    if over:
      break
  assert reward == 1


def test_an_episode_goes_on_from_a_snapshot_by_a_chance_of_its_own():
  task = dataclasses.replace(TASK, slippery=True)
  episode = task.episode(1, "train")
  assert isinstance(episode, protocol.Restorable)
  episode.reset(seed=0)
  shown, *_ = episode.step("right")
  kept = episode.snapshot()

  def go_on(seed):
    other = task.episode(1, "train")
    assert isinstance(other, protocol.Restorable)
    other.restore(kept, seed)
    return [other.step("down")[0] for _ in range(4)]

  assert go_on(1) == go_on(1)
  assert len({tuple(go_on(seed)) for seed in range(8)}) > 1
  episode.step("down")
  again = task.episode(1, "train")
  assert isinstance(again, protocol.Restorable)
  again.restore(kept, 0)
  # What was played since has not changed it: an unreadable word shows where.
  assert again.step("nothing")[0] == shown
