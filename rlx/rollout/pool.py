"""Calls of environments: several at once, each with a deadline.

A pool belongs to one batch: what answers after the batch's end, or after the
deadline of its call, answers to nobody. Threads are daemons, so that one that is
stuck holds up neither the batch nor the end of the process.

Trivial environments answer in microseconds, and waking a thread takes longer
than that. So a turn's calls are handed to one thread, which makes them one after
the other; only what it has not finished after `PATIENCE` is shared out.
"""

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rlx.rollout import seats

_LOG = logging.getLogger(__name__)
PATIENCE = 1e-3  # Seconds that one thread gets for the calls of a turn.
STUCK = "rlx-environment-stuck"
ANYWHERE = seats.Here()  # Of calls that no seat makes.


class Late(Exception):
  """A call outlived its deadline."""


class Answer(NamedTuple):
  """What came of a row's call: a value, or what it raised, `Late` included."""

  row: int
  value: Any = None
  error: BaseException | None = None


@runtime_checkable
class Calls(Protocol):
  """The calls of one batch, at most one of each row at a time.

  Attributes:
    pending: calls that have not been answered to the owner.
  """

  @property
  def pending(self) -> int: ...

  def seat(self, row: int) -> seats.Seat:
    """Returns an empty seat for a row's episode."""
    ...

  def submit(
    self, row: int, call: Callable[[], Any], seat: seats.Seat = ANYWHERE
  ) -> None:
    """Has a call made, after those before it of the seat's lane."""
    ...

  def take(self, seconds: float) -> list[Answer]:
    """Returns what was answered, each once.

    Returns when all calls are answered, or when so many seconds are over.
    """
    ...

  def close(self) -> None:
    """Forgets the calls; those that have begun may run on unheard."""
    ...


# Opens what the calls of one batch go through.
Open = Callable[[], Calls]


class Inline:
  """Calls made by whoever takes their answers; without a deadline."""

  def __init__(self):
    self._queue: list[tuple[int, Callable[[], Any]]] = []

  @property
  def pending(self) -> int:
    return len(self._queue)

  def seat(self, row: int) -> seats.Seat:
    del row
    return seats.Here()

  def submit(
    self, row: int, call: Callable[[], Any], seat: seats.Seat = ANYWHERE
  ) -> None:
    del seat
    self._queue.append((row, call))

  def take(self, seconds: float) -> list[Answer]:
    del seconds
    queue, self._queue = self._queue, []
    return [_answer(row, call) for row, call in queue]

  def close(self) -> None:
    self._queue.clear()


@dataclasses.dataclass(eq=False)
class _Call:
  row: int
  make: Callable[[], Any]
  seat: seats.Seat
  until: float = 0.0
  thread: threading.Thread | None = None


class Threads:
  """Calls made by threads, which are started when they are needed."""

  def __init__(
    self,
    workers: int,
    seconds: float,
    seat: Callable[[int], seats.Seat] = lambda row: seats.Here(),
  ):
    """Starts nothing yet.

    Args:
      workers: most calls at once.
      seconds: that a call may take, from when a thread begins it, beside its
        seat's allowance.
      seat: called with a row.
    """
    self._seat = seat
    self._most, self._seconds = workers, seconds
    self._lock = threading.Lock()
    self._work = threading.Condition(self._lock)  # There may be a call to make.
    self._news = threading.Condition(self._lock)  # All calls are answered.
    self._queue: collections.deque[_Call] = collections.deque()
    self._running: set[_Call] = set()
    self._done: list[Answer] = []
    self._threads = self._idle = 0
    self._closed = self._told = False

  def seat(self, row: int) -> seats.Seat:
    return self._seat(row)

  @property
  def pending(self) -> int:
    with self._lock:
      return len(self._queue) + len(self._running) + len(self._done)

  def submit(
    self, row: int, call: Callable[[], Any], seat: seats.Seat = ANYWHERE
  ) -> None:
    with self._lock:
      self._queue.append(_Call(row, call, seat))

  def take(self, seconds: float) -> list[Answer]:
    until = time.monotonic() + seconds
    with self._lock:
      self._hire(1)
      self._wait(min(seconds, PATIENCE))
      while self._queue or self._running:
        self._give_up()
        self._hire(len(self._queue))
        left = until - time.monotonic()
        if left <= 0:
          break
        self._wait(min(left, self._seconds, 0.05))
      done, self._done = self._done, []
      return done

  def close(self) -> None:
    with self._lock:
      self._closed = True
      self._queue.clear()
      self._work.notify_all()

  def _wait(self, seconds: float) -> None:
    if self._queue or self._running:
      self._news.wait(seconds)

  def _hire(self, wanted: int) -> None:
    """Wakes or starts up to so many threads, as far as there are calls."""
    wanted = min(wanted, len(self._queue))
    self._work.notify(wanted)
    for _ in range(min(wanted - self._idle, self._most - self._threads)):
      name = f"rlx-environment-{self._threads}"
      threading.Thread(target=self._serve, name=name, daemon=True).start()
      self._threads += 1

  def _give_up(self) -> None:
    """Answers for the calls whose time is over; their threads are lost."""
    now = time.monotonic()
    late = [x for x in self._running if now > x.until]
    for call in late:
      call.seat.abandon()  # While its lane is not free yet.
      self._running.remove(call)
      self._threads -= 1
      if call.thread is not None:
        call.thread.name = STUCK
      error = Late(f"did not answer within {self._seconds:g} s")
      self._done.append(Answer(call.row, error=error))
    if late and not self._told:  # Once: a line a batch counts them.
      self._told = True
      lost = f"{stuck()} threads are stuck in such calls"
      if all(call.seat.lane is not None for call in late):
        lost = "their processes are ended"
      _LOG.warning(
        "environments did not answer within %g s: %s, and others take their "
        "place",
        *(self._seconds, lost),
      )

  def _serve(self) -> None:
    """Makes calls until the pool is closed; what a thread does."""
    while True:
      with self._lock:
        call = self._next()
        while call is None:
          if self._closed:
            return
          self._idle += 1
          self._work.wait()
          self._idle -= 1
          call = self._next()
        call.thread = threading.current_thread()
        call.until = time.monotonic() + self._seconds + call.seat.allowance
        self._running.add(call)
      answer = _answer(call.row, call.make, BaseException)
      with self._lock:
        if call not in self._running:
          return  # Too late: this thread has been replaced.
        self._running.remove(call)
        self._done.append(answer)
        if not (self._queue or self._running):
          self._news.notify()

  def _next(self) -> _Call | None:
    """Takes the first call of the queue whose lane is free."""
    busy = {call.seat.lane for call in self._running} - {None}
    for place, call in enumerate(self._queue):
      if call.seat.lane not in busy:
        del self._queue[place]
        return call
    return None


def stuck() -> int:
  """Returns how many threads of this process are in calls given up."""
  return sum(thread.name == STUCK for thread in threading.enumerate())


def _answer(
  row: int,
  call: Callable[[], Any],
  kinds: Any = (Exception, SystemExit),  # An environment may call exit().
) -> Answer:
  try:
    return Answer(row, value=call())
  except kinds as error:
    return Answer(row, error=error)
