"""Environments in other processes: the same episodes, and what they cannot do."""

import functools

import jax
import numpy as np
import pytest

from rlx.rollout import episodes, played, pool, processes, seats
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
  whole = play()  # Every process has begun: that takes longer than a call may.
  found = play(how, seconds=2.0)
  assert found.stop == ["max_turns", stop]
  same(found, whole, slice(0, 1))
  assert (how != "raises") or "no route" in caplog.text
  assert not pool.stuck()
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
