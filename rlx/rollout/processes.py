"""Environments in processes of their own: for those that are heavy or untrusted.

Episodes are dealt out over a few processes and live there, one call at a time
each. A call past its deadline ends its process, and with it the other episodes
in it, which fail at their next call; what begins later gets a new process. As
many processes as rows keep episodes apart altogether.

What is sent must be picklable: the task, snapshots and observations.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from rlx.rollout import seats


class Processes:
  """Processes that outlive a batch: starting one takes about a second."""

  def __init__(self, workers: int):
    """Starts nothing yet."""
    self._workers = [_Worker() for _ in range(workers)]

  def seat(self, row: int) -> seats.Seat:
    """Returns an empty seat in the process that the row's episodes live in."""
    lane = row % len(self._workers)
    return There(self._workers[lane], lane, row)

  def close(self) -> None:
    """Ends all processes."""
    for worker in self._workers:
      worker.kill()


class There:
  """A seat in another process."""

  def __init__(self, worker: "_Worker", lane: int, name: int):
    self.lane = lane
    self._worker, self._name, self._life = worker, name, -1

  def begin(self, make: seats.Make, seed: int, keep: bool) -> seats.Shown:
    self._life = self._worker.start()
    return self._ask("begin", make, seed, keep)

  def resume(self, make: seats.Make, snapshot: Any, seed: int) -> None:
    self._life = self._worker.start()
    self._ask("resume", make, snapshot, seed)

  def step(self, action: str, keep: bool) -> seats.Shown:
    return self._ask("step", action, keep)

  def abandon(self) -> None:
    self._worker.kill()

  def _ask(self, method: str, *args: Any) -> Any:
    return self._worker.ask(self._life, (self._name, method, args))


class _Worker:
  """One process, or none yet; calls come one at a time, see `Seat.lane`."""

  def __init__(self):
    self._process: Any = None
    self._pipe: Connection | None = None
    self._life = 0  # How many processes there have been.
    self._lock = threading.Lock()  # Of starting and ending.

  def start(self) -> int:
    """Makes sure that there is a process; returns which one it is."""
    with self._lock:
      if self._process is None or not self._process.is_alive():
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
          target=serve, args=(other,), name="rlx-environment", daemon=True
        )
        self._process.start()
        other.close()
        self._life += 1
      return self._life

  def kill(self) -> None:
    with self._lock:
      if self._process is not None:
        self._process.kill()
        self._process.join()
        self._process = None

  def ask(self, life: int, message: tuple[int, str, tuple[Any, ...]]) -> Any:
    """Returns what a seat in the process answers, or raises what it raised."""
    pipe = self._pipe
    if life != self._life or self._process is None or pipe is None:
      raise RuntimeError(
        "the process of this environment was ended, as another one in it did "
        "not answer in time; more of rollout.environment_workers keep them apart"
      )
    data = _pickled(message)
    try:
      pipe.send_bytes(data)
      kind, value = pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError) as error:
      raise RuntimeError("the process of this environment has ended") from error
    if kind == "value":
      return value
    raise (
      seats.Unsuitable(value)
      if kind == "unsuitable"
      else RuntimeError(f"in the process of the environment:\n{value}")
    )


def _pickled(message: Any) -> bytes:
  try:
    return pickle.dumps(message)
  except Exception as error:  # Pickling raises whatever an object likes.
    raise seats.Unsuitable(
      "rollout.environment_pool=processes: an environment cannot be sent to "
      f"another process ({error}); what makes it must be picklable, and not a "
      'lambda or a local class. "threads" asks for nothing of the kind'
    ) from error


def serve(pipe: Connection) -> None:
  """Answers calls until the other end is closed; what a process does."""
  # Ctrl-C is for the process that asks, which ends this one.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  os.environ["JAX_PLATFORMS"] = "cpu"  # The accelerator is the policy's.
  held: dict[int, seats.Here] = {}
  while True:
    try:
      data = pipe.recv_bytes()
    except (EOFError, OSError):
      return
    pipe.send_bytes(_answered(held, data))


def _answered(held: dict[int, seats.Here], data: bytes) -> bytes:
  try:
    name, method, args = pickle.loads(data)
    seat = held.setdefault(name, seats.Here())
    call: Callable[..., Any] = getattr(seat, method)
    return pickle.dumps(("value", call(*args)))
  except seats.Unsuitable as error:
    return pickle.dumps(("unsuitable", str(error)))
  except BaseException:  # Whatever an environment raises costs its episode.
    return pickle.dumps(("error", traceback.format_exc()))
