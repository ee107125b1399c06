"""Any Gymnasium environment as a text episode."""

import gymnasium
import pytest

from rlx.envs import gymnasium as adapter
from rlx.envs import protocol


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
