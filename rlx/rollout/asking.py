"""The environments of a batch: who is asked what, and who has answered."""

import functools
from typing import Any, Literal

import numpy as np

from rlx.rollout import pool


class Asking:
  """One seat a row, and the calls that go through them.

  Attributes:
    asked: bool [N], rows whose environment has not answered.
  """

  def __init__(self, calls: pool.Calls, rows: int):
    """Seats nobody yet."""
    self.asked = np.zeros(rows, bool)
    self._calls = calls
    self._seats = [calls.seat(row) for row in range(rows)]

  def ask(
    self, row: int, what: Literal["begin", "resume", "step"], *args: Any
  ) -> None:
    """Has a method of the row's seat called."""
    self.asked[row] = True
    seat = self._seats[row]
    call = functools.partial(getattr(seat, what), *args)
    self._calls.submit(row, call, seat)

  def answers(self, seconds: float) -> list[pool.Answer]:
    """Returns what was answered until all have, or the time is over."""
    found = self._calls.take(seconds)
    for answer in found:
      self.asked[answer.row] = False
    return found

  def settle(self) -> list[pool.Answer]:
    """Returns what all answer, in the order of the rows."""
    found: list[pool.Answer] = []
    while self._calls.pending:
      found += self.answers(1.0)
    return sorted(found, key=lambda answer: answer.row)
