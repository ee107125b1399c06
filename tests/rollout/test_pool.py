"""Calls with deadlines, made side by side, and when the next turn is due."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rlx.rollout import pace, pool, seats

LONG = 30.0  # Longer than any test; nothing waits for it.


class Seat(seats.Here):
  def __init__(self, lane: int):
    super().__init__()
    self.lane, self.abandoned = lane, False

  def abandon(self) -> None:
    self.abandoned = True


def take_all(calls: pool.Calls) -> dict[int, pool.Answer]:
  found: dict[int, pool.Answer] = {}
  while calls.pending:
    for answer in calls.take(LONG):
      assert answer.row not in found
      found[answer.row] = answer
  return found


OPEN: dict[str, Callable[[], Any]] = {
  "inline": pool.Inline,
  "one": lambda: pool.Threads(1, LONG),
  "many": lambda: pool.Threads(64, LONG),
}


@pytest.mark.parametrize("name", OPEN)
def test_every_call_is_answered_once(name):
  calls = OPEN[name]()
  for _ in range(3):
    for row in range(20):
      calls.submit(row, lambda row=row: row * row)
    found = take_all(calls)
    assert {row: x.value for row, x in found.items()} == {
      row: row * row for row in range(20)
    }
    assert all(x.error is None for x in found.values())
  calls.close()


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
def test_what_a_call_raises_is_its_answer(name, error):
  def fail():
    raise error

  calls = OPEN[name]()
  calls.submit(0, fail)
  calls.submit(1, lambda: "fine")
  found = take_all(calls)
  assert found[0].error is error
  assert found[1].value == "fine"
  calls.close()


def test_quick_calls_are_made_by_one_thread(monkeypatch):
  monkeypatch.setattr(pool, "PATIENCE", LONG)  # However loaded the machine is.
  calls, used = pool.Threads(32, LONG), set()
  for row in range(64):
    calls.submit(row, lambda: used.add(threading.current_thread().name))
  take_all(calls)
  calls.close()
  assert len(used) == 1


def test_slow_calls_are_made_side_by_side():
  calls, meet = pool.Threads(8, LONG), threading.Barrier(8)
  for row in range(8):
    calls.submit(row, lambda: meet.wait(LONG))
  assert sorted(take_all(calls)) == list(range(8))
  calls.close()


def test_who_is_quick_does_not_wait_for_who_is_slow():
  calls, go_on = pool.Threads(2, LONG), threading.Event()
  calls.submit(0, lambda: go_on.wait(LONG))
  calls.submit(1, lambda: "quick")
  found = calls.take(0.05)
  while not found:
    found = calls.take(0.05)
  assert [answer.row for answer in found] == [1]
  assert calls.pending == 1
  go_on.set()
  assert list(take_all(calls)) == [0]
  calls.close()


def test_calls_of_one_lane_are_made_one_after_the_other():
  calls, inside, most = pool.Threads(8, LONG), [0, 0], [0, 0]

  def call(lane):
    inside[lane] += 1
    most[lane] = max(most[lane], inside[lane])
    time.sleep(2e-3)
    inside[lane] -= 1

  for row in range(8):
    calls.submit(row, lambda lane=row % 2: call(lane), Seat(row % 2))
  assert len(take_all(calls)) == 8
  assert most == [1, 1]
  calls.close()


def test_a_lane_is_free_when_its_late_call_is_abandoned():
  calls, go_on, seat = pool.Threads(8, 0.1), threading.Event(), Seat(0)
  calls.submit(0, lambda: go_on.wait(LONG), seat)
  calls.submit(1, lambda: seat.abandoned, seat)
  found = take_all(calls)
  assert isinstance(found[0].error, pool.Late)
  assert found[1].value
  go_on.set()
  calls.close()


def test_a_seat_may_allow_a_call_more_than_its_deadline():
  calls, seat = pool.Threads(8, 0.01), Seat(0)
  seat.allowance = LONG
  calls.submit(0, lambda: time.sleep(0.1), seat)
  assert take_all(calls)[0].error is None
  calls.close()


def test_a_call_past_its_deadline_is_given_up_and_its_thread_replaced(caplog):
  go_on, before = threading.Event(), pool.stuck()
  calls = pool.Threads(2, 0.1)
  # Both threads are stuck; the calls behind them are made all the same.
  for row in range(2):
    calls.submit(row, lambda: go_on.wait(LONG))
  for row in range(2, 6):
    calls.submit(row, lambda: "fine")
  with caplog.at_level(logging.WARNING):
    found = take_all(calls)
  assert [isinstance(found[row].error, pool.Late) for row in range(6)] == [
    *[True] * 2,
    *[False] * 4,
  ]
  assert all(found[row].value == "fine" for row in range(2, 6))
  assert pool.stuck() == before + 2
  assert "did not answer within 0.1 s" in caplog.text
  # What answers too late answers to nobody, and its thread ends.
  go_on.set()
  until = time.monotonic() + LONG
  while pool.stuck() > before and time.monotonic() < until:
    time.sleep(1e-3)
  assert pool.stuck() == before
  assert not calls.pending
  calls.close()


def test_the_deadline_runs_from_when_a_call_begins():
  calls = pool.Threads(1, 1.0)
  for row in range(8):
    calls.submit(row, lambda: time.sleep(0.15))
  assert all(x.error is None for x in take_all(calls).values())
  calls.close()


def test_closing_forgets_what_has_not_begun_and_ends_the_threads():
  calls, go_on, made = pool.Threads(1, LONG), threading.Event(), []
  calls.submit(0, lambda: go_on.wait(LONG))
  calls.submit(1, lambda: made.append(1))
  calls.take(0.0)
  own = [t for t in threading.enumerate() if t.name == "rlx-environment-0"]
  calls.close()
  go_on.set()
  for thread in own:
    thread.join(LONG)
    assert not thread.is_alive()
  assert not made


def test_a_stuck_environment_does_not_hold_up_the_end_of_the_process():
  import subprocess

  code = """
import time
from rlx.rollout import pool
calls = pool.Threads(4, 0.05)
calls.submit(0, lambda: time.sleep(1000))
while calls.pending:
  calls.take(1.0)
print("over")
"""
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    timeout=LONG,
    check=True,
  )
  assert done.stdout == "over\n"


@pytest.mark.parametrize(
  ("ready", "pending", "waited", "expected"),
  [
    (0, 0, 9.0, False),  # Nobody is left.
    (0, 3, 9.0, False),
    (4, 0, 0.0, True),  # All are there.
    (2, 2, 0.0, False),  # Half are: a tenth of a turn.
    (2, 2, 0.11, True),
    (1, 3, 0.11, False),  # Fewer: a whole turn.
    (1, 3, 1.0, True),
  ],
)
def test_when_a_turn_is_due(ready, pending, waited, expected):
  assert pace.due(ready, pending, waited, 1.0) is expected
