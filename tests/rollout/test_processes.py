"""Environments in other processes: the same episodes, and what they cannot do."""

import contextlib
import functools
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from rlx import config
from rlx.rollout import asking, episodes, lost, played, pool, processes, seats
from tests import tiny
from tests.rollout import misbehaving

SHAPE = tiny.shape(num_prompts=2, num_samples=1, turns=3)
LONG = 60.0


@pytest.fixture(scope="module")
def made():
  return tiny.make_engine(tiny.policy(), SHAPE)


@pytest.fixture(scope="module")
def held():
  found = processes.Processes(2)
  yield found
  found.close()


@pytest.fixture
def play(made, held):
  def run(how="", calls=None, seconds=LONG, keep=True, make=None):
    opened = functools.partial(pool.Threads, 2, seconds, held.seat)
    return episodes.play(
      *(made, tiny.params(tiny.policy()), jax.random.key(0)),
      tiny.tokenizer(),
      make or misbehaving.maker(how),
      prompt_ids=[0, 1],
      indices=[0, 1],
      version=0,
      keep=keep,
      calls=calls or opened,
    )

  return run


def same(one, other, rows):
  for name in ("tokens", "mask", "reward", "state", "log_probs"):
    np.testing.assert_array_equal(
      getattr(one.record, name)[rows], getattr(other.record, name)[rows]
    )


def test_episodes_are_those_of_this_process_and_can_be_continued(play):
  here, there = play(calls=pool.Inline), play()
  same(here, there, slice(None))
  assert here.stop == there.stop
  assert [len(places) for places in there.origin] == [3, 3]
  assert [place.snapshot for place in there.origin[1]] == [0, 1, 2]
  assert isinstance(there.origin[1][1], played.Place)


@pytest.mark.parametrize(
  ("how", "stop"),
  [
    ("raises", "environment_error"),
    ("dies", "environment_error"),
    ("hangs", "rollout_timeout"),
  ],
)
def test_a_process_that_misbehaves_costs_its_episode_only(
  play, how, stop, caplog
):
  # Of other tests.
  before = pool.stuck()
  whole = play()
  found = play(how, seconds=2.0)
  assert found.stop == ["max_turns", stop]
  same(found, whole, slice(0, 1))
  assert (how != "raises") or "no route" in caplog.text
  assert pool.stuck() <= before
  # What comes next has another process.
  same(play(), whole, slice(None))


def test_what_shares_a_process_with_one_that_hangs_fails_with_it():
  one = processes.Processes(1)
  mine, other = one.seat(0), one.seat(1)
  assert mine.lane == other.lane == 0
  for seat in (mine, other):
    seat.begin(functools.partial(misbehaving.make, "", 0), 0, False)
  mine.abandon()
  with pytest.raises(RuntimeError, match="environment_workers keep them apart"):
    other.step("l", False)
  one.close()


def test_what_cannot_be_sent_is_refused(play):
  with pytest.raises(seats.Unsuitable, match="environment_pool=processes"):
    play(make=lambda index: misbehaving.make("", index))


def sleeper(index):
  return functools.partial(misbehaving.Misbehaving, index, "sleeps")


@pytest.fixture
def one():
  with contextlib.closing(processes.Processes(1)) as found:
    yield found


@contextlib.contextmanager
def batch_of(held, rows, seconds):
  with contextlib.closing(pool.Threads(2, seconds, held.seat)) as calls:
    yield asking.Asking(calls, rows)


@contextlib.contextmanager
def begun(held, rows):
  """A batch of episodes with patience of 0.4 s for each step."""
  with batch_of(held, rows, 0.4) as batch:
    for row in range(rows):
      batch.ask(row, "begin", sleeper(10 * row), 0, False)
    assert all(answer.error is None for answer in batch.settle())
    yield batch


def test_an_answer_that_is_late_is_nobody_elses(one):
  with begun(one, 2) as batch:
    batch.ask(0, "step", "0.55", False)
    batch.ask(1, "step", "0", False)
    first, second = batch.settle()
    assert isinstance(first.error, pool.Late)
    assert second.value is None
    assert "keep them apart" in str(second.error)
    # What begins then does so in a new process, and is answered for itself.
    batch.ask(1, "begin", sleeper(10), 0, False)
    batch.ask(1, "step", "0", False)
    *_, answer = batch.settle()
    assert answer.value.reward == 12


def test_a_batch_that_was_left_early_answers_nobody_of_the_next(one):
  with begun(one, 1) as batch:
    batch.ask(0, "step", "0.2", False)
    batch.answers(0.05)
  with begun(one, 2) as batch:
    batch.ask(1, "step", "0", False)
    assert [answer.value.reward for answer in batch.settle()] == [12]


def test_the_start_of_a_process_has_a_deadline_of_its_own(one):
  with batch_of(one, 1, 0.01) as batch:
    batch.ask(0, "begin", sleeper(0), 0, False)
    assert [answer.error for answer in batch.settle()] == [None]
  with (
    contextlib.closing(processes.Processes(1, starting=0.1)) as slow,
    batch_of(slow, 1, 0.01) as batch,
  ):
    batch.ask(0, "begin", functools.partial(time.sleep, 1000), 0, False)
    (answer,) = batch.settle()
    assert isinstance(answer.error, pool.Late)


def test_ctrl_c_ends_a_run_whose_environment_hangs():
  code = """
import functools, os, signal, threading
from rlx.rollout import asking, pool, processes
from tests.rollout import misbehaving
held = processes.Processes(1)
batch = asking.Asking(pool.Threads(1, 1000.0, held.seat), 1)
batch.ask(0, "begin", functools.partial(misbehaving.Misbehaving, 0, "deaf"), 0, False)
batch.settle()
batch.ask(0, "step", "", False)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
batch.settle()
"""
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    timeout=LONG,
    check=False,
  )
  assert done.returncode == -signal.SIGINT
  assert "KeyboardInterrupt" in done.stderr


MINE = """
class Guess:
  def reset(self, seed):
    raise OSError("none of mine")


def make():
  return Guess()
"""


def test_an_environment_of_the_users_own_file_is_found_in_a_process(tmp_path):
  (tmp_path / "guessed.py").write_text(MINE)
  module = config.load_module(str(tmp_path / "guessed.py"))
  assert config.load_module(str(tmp_path / "guessed.py")) is module
  one = processes.Processes(1)
  with pytest.raises(lost.Elsewhere) as caught:
    one.seat(0).begin(module.make, 0, False)
  one.close()
  assert caught.value.what == "OSError('none of mine')"
  # Of the frames, only the user's.
  assert caught.value.full.count("File ") == 1
  assert 'guessed.py", line 4, in reset' in caught.value.full
