"""Episodes: what is recorded of a conversation with an environment, and what an
environment that misbehaves costs."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rlx.rollout import episodes, record
from rlx.view import episode as views
from tests import tiny

TURNS, ROWS = 3, 16
SHAPE = tiny.shape(turns=TURNS)


@dataclasses.dataclass
class Scripted:
  """An environment that writes down what happens to it."""

  index: int
  member: int
  hook: Callable[["Scripted", int], dict[str, Any]]
  shown: list[str] = dataclasses.field(default_factory=list)
  heard: list[str] = dataclasses.field(default_factory=list)

  def reset(self, seed):
    del seed
    found = self.hook(self, 0)
    return self._show(found), {"state_key": found.get("key", "start")}

  def step(self, action):
    self.heard.append(action)
    turn = len(self.heard)
    found = {"reward": self.index + turn / 10, "key": (self.index, turn)}
    found |= self.hook(self, turn)
    info = {"state_key": found["key"]}
    info |= {k: found[k] for k in ("success", "parse_error") if k in found}
    return (
      self._show(found),
      found["reward"],
      found.get("terminated", False),
      found.get("truncated", False),
      info,
    )

  def _show(self, found):
    self.shown.append(found.get("text", "l"))
    return self.shown[-1]


@pytest.fixture(scope="module")
def made():
  return tiny.make_engine(tiny.policy(), SHAPE)


@pytest.fixture(scope="module")
def params():
  return tiny.params(tiny.policy())


@pytest.fixture
def play(made, params):
  """Plays a hook `(environment, turn) -> what differs from the ordinary`."""

  def run(hook=lambda env, turn: {}) -> tuple[episodes.Played, list[Scripted]]:
    made_envs = []

    class Task:
      def episode(self, index, split):
        member = len(made_envs) % SHAPE.num_samples
        made_envs.append(Scripted(index, member, hook))
        return made_envs[-1]

    return tiny.play(made, params, Task(), first=20), made_envs

  return run


def expected_tokens(log, row, env, tokenizer):
  """What the row must hold, from what the environment saw, and its mask."""
  tokens = tokenizer.chat([{"role": "user", "content": env.shown[0]}])
  mask = [False] * len(tokens)
  for turn, _ in enumerate(env.heard):
    written = log.tokens[row][log.segment[row] == row * TURNS + turn].tolist()
    tokens, mask = tokens + written, mask + [True] * len(written)
    if turn + 1 < len(env.heard):
      # Where the policy did not end its turn, that is done for it.
      closing = [] if written[-1] == tiny.END else [tiny.END]
      said = closing + tokenizer.turn(env.shown[turn + 1])
      tokens, mask = tokens + said, mask + [False] * len(said)
  return tokens, mask


def test_tokens_are_what_was_said_and_the_mask_is_what_was_chosen(play):
  words = ("l", "r", "l r")
  played, envs = play(
    lambda env, turn: {"text": words[(env.index + turn) % 3 * (turn > 0)]}
  )
  log, closed = played.record, 0
  # The longest thing to say has two words, and may need the closing token.
  assert SHAPE.turn_tokens == 4
  for row, env in enumerate(envs):
    ids = log.tokens[row][log.mask[row]]
    if played.stop[row] == "context_overflow":
      continue
    tokens, mask = expected_tokens(log, row, env, tiny.tokenizer())
    length = int(log.length[row])
    assert log.tokens[row, :length].tolist() == tokens
    assert log.mask[row, :length].tolist() == mask
    assert not log.mask[row, length:].any()
    closed += int((ids != tiny.END).any())
  assert closed


def test_the_environment_hears_the_text_without_the_stop_token(play):
  played, envs = play()
  log, tokenizer = played.record, tiny.tokenizer()
  for row, env in enumerate(envs):
    spans = [x for x in views.spans(log, row) if x[2]]
    texts = [
      tokenizer.decode(log.tokens[row, a:b].tolist()) for a, b, _ in spans
    ]
    assert env.heard == texts


def test_segments_are_rows_of_the_step_table_and_tile_the_actions(play):
  log = play()[0].record
  np.testing.assert_array_equal(log.segment >= 0, log.mask)
  steps = log.steps()
  for row in range(ROWS):
    found = log.segment[row][log.mask[row]]
    assert (np.diff(found) >= 0).all()
    assert set(found) == {row * TURNS + t for t in range(int(log.turns[row]))}
    assert (steps.trajectory[found] == row).all()


def test_rows_are_groups_in_order_and_each_reward_stands_on_its_step(play):
  played, envs = play()
  log = played.record
  assert log.prompt.tolist() == [20 + row // 4 for row in range(ROWS)]
  assert log.sample.tolist() == [row % 4 for row in range(ROWS)]
  assert [env.index for env in envs] == log.prompt.tolist()
  want = log.prompt[:, None] + np.arange(1, TURNS + 1) / 10
  np.testing.assert_allclose(log.reward, want, rtol=1e-6)


def test_state_keys_are_those_acted_on_and_those_that_followed(play):
  log = play()[0].record
  for row in range(ROWS):
    index = int(log.prompt[row])
    keys = ["start", *((index, turn) for turn in range(1, TURNS + 1))]
    assert log.state[row].tolist() == [record.key(k) for k in keys[:-1]]
    assert log.next_state[row].tolist() == [record.key(k) for k in keys[1:]]


def test_without_a_state_key_the_text_is_the_state(made, params):
  class Plain:
    def reset(self, seed):
      return "l", {}

    def step(self, action):
      return "r", 0.0, False, False, {}

  class Task:
    def episode(self, index, split):
      return Plain()

  log = tiny.play(made, params, Task()).record
  keys = [record.key("l"), record.key("r"), record.key("r")]
  assert (log.state == keys).all()


def ends(env, turn):
  """Group 20 terminates at once, 21 is cut off in turn 2, 22 goes on."""
  return {
    20: {"terminated": turn == 1},
    21: {"truncated": turn == 2, "reward": 0.0},
    22: {"reward": -1.0},
    23: {"terminated": turn == 2, "success": env.member == 0},
  }[env.index]


def test_every_way_to_end_is_told_and_success_is_what_the_environment_says(
  play,
):
  played, _ = play(ends)
  log = played.record
  assert played.stop[::4] == [
    "completed",
    "truncated",
    "max_turns",
    "completed",
  ]
  assert log.turns[::4].tolist() == [1, 2, 3, 2]
  # Without a word about it, success is an outcome above 0.
  assert played.success[:12].tolist() == [True] * 4 + [False] * 8
  assert played.success[12:].tolist() == [True, False, False, False]


def test_who_has_ended_is_recorded_no_further_and_disturbs_nobody(play):
  whole, ended = play()[0].record, play(ends)[0].record
  rows = np.arange(8, 12)  # The group that goes on.
  np.testing.assert_array_equal(ended.tokens[rows], whole.tokens[rows])
  np.testing.assert_array_equal(ended.log_probs[rows], whole.log_probs[rows])
  for row in range(4):
    assert not ended.tokens[row, ended.length[row] :].any()
    start = int(ended.length[row])
    np.testing.assert_array_equal(
      ended.tokens[row, :start], whole.tokens[row, :start]
    )


def test_a_batch_whose_episodes_have_ended_is_not_played_on(play):
  _, envs = play(lambda env, turn: {"terminated": turn == 1})
  assert all(len(env.heard) == 1 for env in envs)


def breaks(how):
  """Row 5 (prompt 21, member 1) misbehaves in its second turn."""

  def hook(env, turn):
    if (env.index, env.member, turn) != (21, 1, 2):
      return {}
    if isinstance(how, Exception):
      raise how
    return {"reward": how}

  return hook


@pytest.mark.parametrize(
  "how", [RuntimeError("no route"), math.nan, math.inf, 1e39, None, "much"]
)
def test_an_environment_that_fails_costs_its_episode_only(play, how, caplog):
  whole, broken = play()[0], play(breaks(how))[0]
  assert broken.stop[5] == "environment_error"
  assert "1 of 16 episodes lost: 1 raised" in caplog.text
  log, others = broken.record, np.arange(ROWS) != 5
  assert not log.mask[5].any()
  assert (log.segment[5] == -1).all()
  assert log.outcome()[5] == 0
  steps = log.steps()
  assert (steps.weight.reshape(ROWS, TURNS)[5] == 0).all()
  for name in ("tokens", "mask", "log_probs", "segment", "reward", "turns"):
    np.testing.assert_array_equal(
      getattr(log, name)[others], getattr(whole.record, name)[others]
    )
  assert np.isfinite(log.reward).all()


@pytest.mark.parametrize("members", [(0,), (2, 3), (0, 1, 2, 3)])
def test_an_environment_that_fails_to_start_costs_its_episode_only(
  play, members, caplog
):
  def hook(env, turn):
    if turn == 0 and env.index == 21 and env.member in members:
      raise OSError("no display")
    return {}

  whole, broken = play()[0].record, play(hook)[0]
  dead = np.isin(np.arange(ROWS), [4 + member for member in members])
  assert [stop == "environment_error" for stop in broken.stop] == dead.tolist()
  assert "no display" in caplog.text
  log = broken.record
  assert (log.turns[dead] == 0).all()
  assert not log.mask[dead].any()
  np.testing.assert_array_equal(log.tokens[~dead], whole.tokens[~dead])
  np.testing.assert_array_equal(log.reward[~dead], whole.reward[~dead])


def test_when_all_environments_fail_the_run_does(play):
  def hook(env, turn):
    raise OSError("no display")

  with pytest.raises(RuntimeError, match="all 16 episodes of a") as caught:
    play(hook)
  assert str(caught.value.__cause__) == "no display"


def test_members_of_a_group_that_start_apart_are_refused(play):
  with pytest.raises(
    ValueError, match="episode 20: .* start apart, with 'l' and 'r'"
  ):
    play(lambda env, turn: {"text": "r" if env.member == 2 else "l"})


def test_what_does_not_fit_between_turns_ends_the_episode_and_is_kept(play):
  # With markers, four words are six tokens where turn_tokens is 4.
  long = lambda env, turn: (
    {"text": "l r l r"} if (env.index, turn) == (22, 1) else {}
  )
  played, _ = play(long)
  log = played.record
  assert played.stop[8:12] == ["context_overflow"] * 4
  assert log.turns[8:12].tolist() == [1] * 4
  np.testing.assert_allclose(log.reward[8:12, 0], 22.1, rtol=1e-6)
  assert (log.mask[8:12].sum(1) > 0).all()
  assert "context_overflow" not in played.stop[:8]


def test_the_last_observation_is_said_to_nobody_and_may_be_of_any_length(play):
  played, _ = play(
    lambda env, turn: {"text": "l r l r"} if turn == TURNS else {}
  )
  assert played.stop == ["max_turns"] * ROWS


def test_actions_that_could_not_be_read_are_counted(play):
  played, _ = play(lambda env, turn: {"parse_error": env.member < turn})
  assert played.parse_errors.tolist() == [3, 2, 1, 0] * 4


def test_a_first_observation_that_is_too_long_is_refused_with_the_numbers(play):
  with pytest.raises(
    ValueError, match="episode 20 has 4 tokens.*max_prompt_length=3"
  ):
    play(lambda env, turn: {"text": "l l"} if turn == 0 else {})


def test_an_episode_is_read_as_it_was_played(play):
  played, envs = play()
  log = played.record
  credit = np.where(log.mask, log.segment, 0).astype(float)
  line = views.as_json(played, credit, tiny.tokenizer(), 6)
  assert line["actions"] == envs[6].heard
  assert line["advantages"] == [18.0, 19.0, 20.0]
  assert [a < b for a, b in line["spans"]] == [True] * 3
  np.testing.assert_allclose(line["rewards"], [21.1, 21.2, 21.3], rtol=1e-6)
  lines = views.readable(log, credit, tiny.tokenizer(), 6)
  assert [(seen, done) for seen, done, *_ in lines] == [
    ("l", heard) for heard in envs[6].heard
  ]
