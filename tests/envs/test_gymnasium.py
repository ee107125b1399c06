"""Any Gymnasium environment as a text episode."""

import dataclasses
import re
import threading

import gymnasium
import numpy as np
import pytest

from rlx.envs import gymnasium as adapter
from rlx.envs import gymnasium_task, protocol


def text_of(**fields):
  names = {"stay": 0, "go": 1}
  return adapter.Text(
    observe=lambda env, observation: f"at {float(observation[0]):.3f}",
    act=names.get,
    state_key=lambda env, observation: round(float(observation[0]), 1),
    **fields,
  )


@pytest.fixture
def pair():
  """CartPole as text, and as Gymnasium has it."""
  ours = adapter.GymnasiumEpisode(
    gymnasium.make("CartPole-v1", max_episode_steps=5), text_of()
  )
  return ours, gymnasium.make("CartPole-v1", max_episode_steps=5)


def test_it_is_an_episode(pair):
  assert isinstance(pair[0], protocol.Episode)


def test_the_five_values_are_gymnasiums_in_text(pair):
  ours, theirs = pair
  observation, _ = theirs.reset(seed=3)
  text, info = ours.reset(seed=3)
  assert text == f"at {observation[0]:.3f}"
  assert info == {"state_key": round(float(observation[0]), 1)}
  infos = []
  for step in range(1, 6):
    observation, reward, terminated, truncated, _ = theirs.step(1)
    found = ours.step("go")
    assert found[0] == f"at {observation[0]:.3f}"
    assert found[1:4] == (reward, terminated, truncated)
    assert all(type(x) is bool for x in found[2:4])
    assert truncated == (step == 5)
    infos.append(found[4])
  # A time limit is no end of the task, so nothing is said about success.
  assert "success" not in infos[-1]


def test_the_seed_decides_the_episode(pair):
  ours, _ = pair
  assert ours.reset(seed=1)[0] == ours.reset(seed=1)[0] != ours.reset(seed=2)[0]


def test_an_action_that_cannot_be_read_never_reaches_the_environment(pair):
  ours, theirs = pair
  ours.reset(seed=0)
  theirs.reset(seed=0)
  for _ in range(9):  # More than the time limit.
    _, reward, terminated, truncated, info = ours.step("jump")
    assert (reward, terminated, truncated) == (-0.1, False, False)
    assert info["parse_error"]
  observation, *_ = theirs.step(0)
  assert ours.step("stay")[0] == f"at {observation[0]:.3f}"


class Countdown(gymnasium.Env):
  """Ends after two steps, with a reward that may be nothing."""

  def __init__(self, reward, **info):
    self.left, self.reward, self.info = 2, reward, info

  def reset(self, *, seed=None, options=None):
    self.left = 2
    return [self.left], {}

  def step(self, action):
    self.left -= 1
    return [self.left], self.reward, self.left == 0, False, self.info


@pytest.mark.parametrize(
  "env, fields, want",
  [
    (Countdown(1.0), {}, True),
    (Countdown(0.0), {}, False),
    (
      Countdown(0.0, won=True),
      {"success": lambda reward, info: info["won"]},
      True,
    ),
  ],
)
def test_success_is_asked_when_the_episode_terminates(env, fields, want):
  episode = adapter.GymnasiumEpisode(env, text_of(**fields))
  episode.reset(seed=0)
  assert "success" not in episode.step("go")[4]
  assert episode.step("go")[4]["success"] is want


def test_the_penalty_is_the_one_given():
  episode = adapter.GymnasiumEpisode(
    Countdown(1.0), text_of(), invalid_penalty=0.5
  )
  episode.reset(seed=0)
  assert episode.step("?")[1] == -0.5


# What is possible now, and going back.


class Masked(Countdown):
  """Tells which actions are possible, and cannot be copied."""

  def __init__(self):
    super().__init__(1.0)
    self.lock = threading.Lock()
    self.taken = []

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.taken = [seed]
    return [self.left], {"action_mask": [1, 0]}

  def step(self, action):
    self.taken.append(action)
    found = super().step(action)
    return (*found[:4], {"action_mask": [1, 1]})


def test_the_actions_are_those_that_are_possible_now():
  episode = adapter.GymnasiumEpisode(Masked(), text_of(actions=("stay", "go")))
  episode.reset(seed=0)
  assert episode.actions() == ("stay",)
  episode.step("stay")
  assert episode.actions() == ("stay", "go")


def test_what_cannot_be_copied_is_played_again():
  episode = adapter.GymnasiumEpisode(Masked(), text_of())
  episode.reset(seed=4)
  episode.step("go")
  place = episode.snapshot()
  want = episode.step("stay")
  episode.restore(place, 9)
  assert episode.env.taken == [4, 1]
  assert episode.step("stay")[:4] == want[:4]
  # Another episode can go on from there as well.
  other = adapter.GymnasiumEpisode(Masked(), text_of())
  other.restore(place, 9)
  assert other.step("stay")[:4] == want[:4]


def test_a_copy_does_not_change_with_the_episode(pair):
  ours, _ = pair
  ours.reset(seed=0)
  place = ours.snapshot()
  want = ours.step("go")
  ours.restore(place, 1)
  assert ours.step("go")[:4] == want[:4]


# Any environment by its id.

CARTPOLE = gymnasium_task.GymnasiumTask(
  actions=("left", "right"),
  observations=("position", "velocity", "angle", "spin"),
  turns=4,
)


def test_an_environment_by_its_id_is_a_task():
  assert isinstance(CARTPOLE, protocol.Task)
  episode = CARTPOLE.episode(0, "train")
  shown, info = episode.reset(5)
  assert re.fullmatch(
    r"position [-\d.e]+, velocity \S+, angle \S+, spin \S+", shown
  )
  assert info["state_key"] == shown
  assert episode.actions() == ("left", "right")
  # The index says where it begins, whatever the seed.
  assert CARTPOLE.episode(0, "train").reset(6)[0] == shown
  assert CARTPOLE.episode(1, "train").reset(5)[0] != shown
  assert CARTPOLE.episode(0, "test").reset(5)[0] != shown
  turns = [episode.step(x) for x in ("right", "LEFT", "1", "0")]
  assert not any(info.get("parse_error") for *_, info in turns)
  assert turns[-1][2:4] == (False, True)


def test_what_an_environment_draws_is_shown_and_its_masks_are_kept():
  task = gymnasium_task.GymnasiumTask(id="Taxi-v4", draw=True)
  episode = task.episode(0, "test")
  shown, _ = episode.reset(0)
  assert "+---------+" in shown
  assert "\x1b" not in shown
  # The taxi, the passenger and where he wants to go.
  assert re.search(r"\[.\]", shown)
  assert re.search(r"\*[RGYB]\*", shown)
  assert 0 < len(episode.actions()) < 6
  found = episode.step(episode.actions()[0])
  assert found[1] == -1


@pytest.mark.parametrize(
  ("observation", "names", "want"),
  [
    (3, (), "3"),
    (np.array([0.12345, -2.0], np.float32), ("x", "y"), "x 0.123, y -2"),
    (np.array([1, 2]), (), "1, 2"),
    (np.eye(2, dtype=np.int64), (), "1 0\n0 1"),
    ((1, np.array([2])), (), "1; 2"),
    ({"a": 1, "b": (2, 3)}, (), "a: 1; b: 2; 3"),
  ],
)
def test_observations_are_told(observation, names, want):
  assert gymnasium_task.describe(observation, names) == want


@pytest.mark.parametrize(
  ("space", "text", "want"),
  [
    (gymnasium.spaces.Box(-1, 1, (2,)), "0.5, -1", [0.5, -1]),
    (gymnasium.spaces.Box(-1, 1, (2,)), "0.5", None),
    (gymnasium.spaces.Box(-1, 1, (1,)), "1.5", None),
    (gymnasium.spaces.Box(-1, 1, (1,)), "nan", None),
    (gymnasium.spaces.Box(-1, 1, (1,)), "much", None),
    (gymnasium.spaces.MultiDiscrete([2, 3]), "1 2", [1, 2]),
    (gymnasium.spaces.MultiDiscrete([2, 3]), "1 3", None),
    (gymnasium.spaces.MultiDiscrete([2, 3]), "0.5 1", None),
    (gymnasium.spaces.MultiDiscrete([2, 3]), "nan 1e400", None),
  ],
)
def test_actions_of_numbers_are_read(space, text, want):
  found = gymnasium_task.read(space, (), text)
  assert (None if found is None else found.tolist()) == want


@pytest.mark.parametrize(
  ("text", "want"),
  [
    ("b", 6),
    ("5", 5),
    ("4", None),
    ("7", None),
    ("²", None),
    ("9" * 5000, None),
  ],
)
def test_actions_are_read_by_name_or_number(text, want):
  space = gymnasium.spaces.Discrete(2, start=5)
  assert gymnasium_task.read(space, ("a", "b"), text) == want


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"id": "Cartpole-v1"}, "id='Cartpole-v1'"),
    ({"actions": ("left",)}, "1 names of 2 actions"),
    ({"observations": ("x",)}, "1 names of 4 numbers"),
    ({"turns": 0}, "turns=0"),
  ],
)
def test_impossible_tasks_are_refused(fields, said):
  with pytest.raises(ValueError, match=re.escape(said)):
    gymnasium_task.GymnasiumTask(**fields).episode(0, "train")


def test_what_has_no_text_is_refused():
  class Film(Countdown):
    observation_space = gymnasium.spaces.Box(0, 255, (210, 160, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

  with pytest.raises(ValueError, match="100800 numbers are too many to read"):
    gymnasium_task.text_of(Film(1.0))


def test_it_may_have_to_last_to_succeed():
  def ends(actions):
    task = dataclasses.replace(CARTPOLE, turns=20, success_above=19.0)
    episode = task.episode(0, "train")
    episode.reset(0)
    for action in actions:
      *_, terminated, truncated, info = episode.step(action)
      if terminated or truncated:
        return terminated, info["success"]
      # What was paid before is kept where it goes on.
      episode.restore(episode.snapshot(), 0)

  assert ends(["left"] * 20) == (True, False)
  assert ends(["left", "right"] * 10) == (False, True)
