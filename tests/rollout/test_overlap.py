"""Episodes whose environments are slow, hang or fail while others decode: what
is recorded never depends on who was slow."""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from rlx.rollout import config, episodes, pool, seats, summary
from tests import tiny

TURNS, ROWS, GROUP = 4, 8, 4
SHAPE = tiny.shape(turns=TURNS, num_prompts=2, action_tokens=2)
LONG = 30.0
WHOLE = ("tokens", "mask", "segment", "length", "turns", "reward", "state")


@pytest.fixture(scope="module")
def made():
  return tiny.make_engine(tiny.policy(), SHAPE)


@pytest.fixture(scope="module")
def params():
  return tiny.params(tiny.policy())


@dataclasses.dataclass
class Spoken:
  """Answers with what it heard, after what a hook does about it."""

  index: int
  member: int
  hook: Callable[[int, int, str, int], Any]
  turn: int = 0

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed
    found = self.hook(self.index, self.member, "reset", 0)
    return found if isinstance(found, str) else "l", {}

  def step(self, action: str) -> Any:
    self.turn += 1
    found = self.hook(self.index, self.member, "step", self.turn)
    if found is not None:
      return found
    # Episodes end after different numbers of turns.
    over = action == "r" and self.member % 2 == 0
    paid = (self.member + 1) * len(action) + self.turn / 8
    return ("l", "r")[self.turn % 2], paid, over, False, {}

  def snapshot(self) -> int:
    self.hook(self.index, self.member, "snapshot", self.turn)
    return self.turn

  def restore(self, snapshot: int, seed: int) -> None:
    self.turn = snapshot


class Member(seats.Here):
  """Tells its episode which of its group it is: they begin in any order."""

  def __init__(self, member: int):
    super().__init__()
    self._member = member

  def begin(self, make: seats.Make, seed: int, keep: bool) -> seats.Shown:
    def mine() -> Any:
      episode: Any = make()
      episode.member = self._member
      return episode

    return super().begin(mine, seed, keep)


class Inline(pool.Inline):
  def seat(self, row: int) -> seats.Seat:
    return Member(row % GROUP)


@pytest.fixture
def play(made, params):
  def run(hook=lambda *_: None, calls=Inline, keep=False, engine=made):
    return episodes.play(
      *(engine, params, jax.random.key(3), tiny.tokenizer()),
      lambda index: Spoken(index, -1, hook),
      prompt_ids=[5, 6],
      indices=[1, 2],
      version=0,
      keep=keep,
      calls=calls,
    )

  return run


def threads(workers: int = 8, seconds: float = LONG) -> pool.Open:
  return functools.partial(
    pool.Threads, workers, seconds, lambda row: Member(row % GROUP)
  )


def same(one: episodes.Played, other: episodes.Played, rows: Any) -> None:
  for name in WHOLE:
    np.testing.assert_array_equal(
      getattr(one.record, name)[rows], getattr(other.record, name)[rows], name
    )
  for name in ("log_probs", "raw_log_probs"):
    np.testing.assert_allclose(
      getattr(one.record, name)[rows],
      getattr(other.record, name)[rows],
      rtol=1e-5,
      atol=1e-6,
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers", [1, 3, 32])
def test_episodes_are_the_same_whoever_is_slow(play, made, seed, workers):
  whole, calls = play(), []
  assert len(set(whole.record.turns.tolist())) > 1

  def slow(index, member, method, turn):
    rng = np.random.default_rng([seed, index, member, turn])
    time.sleep(float(rng.choice([0.0, 0.002, 0.02])))

  counted = made._replace(
    turn=lambda *args, **kw: [calls.append(1), made.turn(*args, **kw)][1]
  )
  found = play(slow, threads(workers), engine=counted)
  same(found, whole, np.arange(ROWS))
  assert found.stop == whole.stop
  assert (found.success == whole.success).all()
  assert len(calls) >= TURNS - 1


def test_others_finish_while_one_environment_is_slow(play, made):
  whole, over = play(), threading.Event()
  mine, told = (1, 1), []

  def slow(index, member, method, turn):
    if method == "step" and (index, member) == mine and turn == 1:
      assert over.wait(LONG)

  def turn(*args, **kw):
    told.append(np.asarray(args[8]))
    # All others have had their last turn.
    if len(told) == TURNS - 1:
      over.set()
    return made.turn(*args, **kw)

  found = play(slow, threads(), engine=made._replace(turn=turn))
  same(found, whole, np.arange(ROWS))
  assert not any(live[1] for live in told[: TURNS - 1])
  assert sum(live[1] for live in told) == whole.record.turns[1] - 1


@pytest.mark.parametrize("method", ["reset", "step", "snapshot"])
def test_an_environment_that_hangs_costs_its_episode_only(play, method, caplog):
  go_on, whole = threading.Event(), play()

  def hang(index, member, name, turn):
    if name == method and (index, member) == (2, 1) and turn in (0, 2):
      go_on.wait(LONG)

  found = play(hang, threads(seconds=0.3), keep=method == "snapshot")
  assert found.stop[5] == "rollout_timeout"
  assert "episodes lost: 1 did not answer within 0.3 s" in caplog.text
  others = np.arange(ROWS) != 5
  same(found, whole, others)
  kept = {name: np.copy(getattr(found.record, name)) for name in WHOLE}
  assert not kept["mask"][5].any()
  assert kept["turns"][5] == 0
  numbers = summary.measure(found)
  assert numbers["stop/rollout_timeout"] == 1 / ROWS
  # What it answers after the batch has ended changes nothing.
  before = pool.stuck()
  go_on.set()
  until = time.monotonic() + LONG
  while pool.stuck() >= max(before, 1) and time.monotonic() < until:
    time.sleep(1e-3)
  for name, x in kept.items():
    np.testing.assert_array_equal(getattr(found.record, name), x)


def test_when_all_environments_hang_the_run_ends(play):
  go_on = threading.Event()
  with pytest.raises(RuntimeError, match="all 8 episodes of a"):
    play(lambda *_: go_on.wait(LONG) and None, threads(2, seconds=0.05))
  go_on.set()


ANSWERS = {
  "nothing": 5,
  "four things": ("l", 1.0, False, False),
  "no text": (None, 1.0, False, False, {}),
  "no reward": ("l", float("nan"), False, False, {}),
  "no info": ("l", 1.0, False, False, None),
  "a stop that is none": ("l", 1.0, True, False, {"stop": "bored"}),
  "a success that is none": ("l", 1.0, True, False, {"success": np.ones(2)}),
}


@pytest.mark.parametrize("calls", [Inline, threads()], ids=["-", "t"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_costs_its_episode_only(play, name, calls):
  bad = lambda index, member, method, turn: (
    ANSWERS[name] if method == "step" and (index, member) == (1, 2) else None
  )
  whole, found = play(), play(bad, calls)
  assert found.stop[2] == "environment_error"
  same(found, whole, np.arange(ROWS) != 2)


def test_what_is_far_too_long_overflows(play):
  text = " ".join(["l"] * 200_000)
  long = lambda index, member, method, turn: (
    (text, 1.0, False, False, {})
    if method == "step" and (index, member) == (1, 2)
    else None
  )
  found = play(long, threads())
  assert found.stop[2] == "context_overflow"
  assert found.record.turns[2] == 1


@pytest.mark.parametrize(
  ("reason", "limit"),
  [("tool_stopped", False), ("parse_error", False), ("max_tool_calls", True)],
)
def test_an_environment_may_say_why_it_stops(play, reason, limit):
  stops = lambda index, member, method, turn: (
    ("l", 1.0, True, False, {"stop": reason}) if method == "step" else None
  )
  found = play(stops, threads())
  assert set(found.stop) == {reason}
  numbers = summary.measure(found)
  assert numbers[f"stop/{reason}"] == 1
  assert numbers["completions/clipped_ratio"] == float(limit)


def test_ctrl_c_ends_the_batch_and_its_threads(play, made):
  begun = []

  def interrupted(*args, **kw):
    raise KeyboardInterrupt

  def hook(index, member, method, turn):
    begun.append(threading.current_thread())

  engine = made._replace(turn=interrupted)
  with pytest.raises(KeyboardInterrupt):
    play(hook, threads(), engine=engine)
  for thread in set(begun):
    thread.join(LONG)
    assert not thread.is_alive()


def test_settings_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match="environment_workers=-1"):
    config.RolloutConfig(environment_workers=-1)
  with pytest.raises(ValueError, match="environment_seconds=0"):
    config.RolloutConfig(environment_seconds=0.0)
