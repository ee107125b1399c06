"""Judges that may hang, crash or eat the machine, in a process to be killed.

Use it for symbolic algebra, code, patterns with unbounded backtracking: all
that takes a time nobody can bound. `rlx.rewards.math_answer` is bounded by construction
and is called directly: no process to start, no text to copy.
"""

import contextlib
import math
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any, Literal

from rlx.rewards import math_answer

COULD_NOT_JUDGE = math_answer.Verdict.COULD_NOT_JUDGE


class ProcessJudge:
  """Calls a function in a child process, within a deadline.

  Calling the judge returns what the function returns, or COULD_NOT_JUDGE if it
  did not return in time or its process ended. That is counted, and the next
  call gets a fresh process. An exception in the function is raised here, with
  the child's traceback: a judge that raises is a bug, not a verdict.

  The process is spawned, never forked, as the parent has the threads of JAX;
  it starts at the first call and serves all that follow. Calls may come from
  any thread and take turns. It leads a process group of its own, which is
  killed as a whole, and ends with its parent.

  Attributes:
    num_timeouts: calls that were not answered in time.
    num_crashes: calls during which the process ended.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    *,
    timeout: float = 5.0,
    context: Literal["spawn", "forkserver"] = "spawn",
    startup_timeout: float = 60.0,
  ):
    """Prepares the judge; nothing starts yet.

    Args:
      function: one that a child can import: of a module, no lambda.
      timeout: seconds a call may take.
      context: how multiprocessing makes the child.
      startup_timeout: seconds until it must have imported the function.

    Raises:
      ValueError: the function cannot be pickled, or a time is not positive.
    """
    if timeout <= 0 or startup_timeout <= 0:
      raise ValueError(f"{timeout=} and {startup_timeout=} must be positive")
    try:
      pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
      raise ValueError(
        f"a child process cannot import the judge {function!r}: define it at"
        f" the top of a module ({error})"
      ) from error
    self._function, self._timeout = function, timeout
    self._context = (
      multiprocessing.get_context("spawn")
      if context == "spawn"
      else multiprocessing.get_context("forkserver")
    )
    self._startup_timeout = startup_timeout
    self._lock = threading.Lock()
    self._worker: tuple[Any, connection.Connection] | None = None
    self.num_timeouts = 0
    self.num_crashes = 0

  def __call__(self, *arguments: Any) -> Any:
    """The function's value for the arguments, or COULD_NOT_JUDGE.

    Raises:
      RuntimeError: the function raised, or its process does not start.
    """
    with self._lock:
      if self._worker is None:
        self._worker = self._start()
      pipe = self._worker[1]
      deadline = time.monotonic() + self._timeout
      try:
        pipe.send(arguments)
        in_time = pipe.poll(max(0.0, deadline - time.monotonic()))
        kind, value = pipe.recv() if in_time else ("timeout", None)
      except (EOFError, OSError):
        kind, value = "crash", None
      if kind == "raised":
        raise RuntimeError(f"the judge raised in its process:\n{value}")
      if kind == "result":
        return value
      self.num_timeouts += kind == "timeout"
      self.num_crashes += kind == "crash"
      self._kill()
      return COULD_NOT_JUDGE

  def _start(self) -> tuple[Any, connection.Connection]:
    ours, theirs = self._context.Pipe()
    process = self._context.Process(
      target=_serve,
      args=(theirs, self._function, self._timeout),
      daemon=True,
      name="rlx-judge",
    )
    process.start()
    theirs.close()
    try:
      if ours.poll(self._startup_timeout):
        ours.recv()
        return process, ours
      reason = f"took longer than {self._startup_timeout:g} s"
    except (EOFError, OSError):
      process.join()
      reason = f"ended with exit code {process.exitcode}"
    process.kill()
    process.join()
    ours.close()
    raise RuntimeError(
      f"the process of the judge {self._function!r} {reason} while starting"
    )

  def _kill(self) -> None:
    if self._worker is None:
      return
    process, pipe = self._worker
    self._worker = None
    pipe.close()
    # Its group, so that what it started goes too, even if it ended itself.
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(process.pid, signal.SIGKILL)
    process.join()
    process.close()

  def close(self) -> None:
    """Ends the process; a later call starts another."""
    with self._lock:
      self._kill()

  def __enter__(self) -> "ProcessJudge":
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


def verified_by(judge: ProcessJudge) -> Callable[..., list[float]]:
  """A reward of 1 where `judge(text, answer)` is RIGHT, else 0.

  Logged: `could_not_judge`, a fraction, and the judge's `timeouts` and
  `crashes` meanwhile.
  """

  def verified(
    completions: Sequence[Any],
    answer: Sequence[Any],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
  ) -> list[float]:
    del columns
    timeouts, crashes = judge.num_timeouts, judge.num_crashes
    verdicts = [
      judge(math_answer.text_of(completion), gold)
      for completion, gold in zip(completions, answer, strict=True)
    ]
    if log_metric is not None:
      unclear = verdicts.count(COULD_NOT_JUDGE) / max(len(verdicts), 1)
      log_metric("could_not_judge", unclear)
      log_metric("timeouts", judge.num_timeouts - timeouts)
      log_metric("crashes", judge.num_crashes - crashes)
    return [float(v is math_answer.Verdict.RIGHT) for v in verdicts]

  return verified


def _serve(
  pipe: connection.Connection, function: Callable[..., Any], timeout: float
) -> None:
  """Answers calls until the parent is gone; runs in the child."""
  os.setsid()
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's.
  pipe.send("ready")
  while True:
    try:
      arguments = pipe.recv()
    except EOFError:
      return
    _limit_processor_time(timeout)
    try:
      pipe.send(("result", function(*arguments)))
    except BrokenPipeError:
      return
    except Exception:  # Of any kind: it is raised in the parent.
      pipe.send(("raised", traceback.format_exc()))


def _limit_processor_time(timeout: float) -> None:
  """Ends this process even if its parent was killed and cannot do it."""
  used = sum(os.times()[:2])
  cores = os.cpu_count() or 1
  hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
  soft = math.ceil(used + (timeout + 1) * cores)
  if hard == resource.RLIM_INFINITY or soft < hard:
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
