"""Signals that ask a run to stop, turned into a flag the loop looks at."""

import os
import signal
import threading
import types
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
  """While entered, SIGTERM and the first Ctrl-C set `requested`.

      with Preemption() as stop:
        for step in ...:
          ...
          if stop.requested:
            checkpointer.save(step, state)
            break

  A second Ctrl-C raises KeyboardInterrupt, as ever. What was in force before
  is in force again afterwards. Only the main thread is sent signals, so in
  another thread nothing is ever requested.
  """

  def __init__(self) -> None:
    self.requested = False
    self.signal: signal.Signals | None = None  # Which one asked.
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> "Preemption":
    if threading.current_thread() is threading.main_thread():
      for number in _SIGNALS:
        self._before[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *_: object) -> None:
    while self._before:
      number, before = self._before.popitem()
      # None: a handler that was not set from Python cannot be set again.
      signal.signal(number, signal.SIG_DFL if before is None else before)

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    if self.requested and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.requested = True
    self.signal = signal.Signals(number)
    again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
    text = f"\n{self.signal.name}: finishing this step, then saving{again}\n"
    os.write(2, text.encode())  # print could be interrupting itself.


# EX_TEMPFAIL: schedulers that requeue take it for "try again".
EXIT_CODE = 75


class Preempted(Exception):
  """A signal asked the run to stop, and it did; the message says what is saved."""
