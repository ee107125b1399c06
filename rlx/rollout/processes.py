"""Environments in processes of their own: for those that are heavy or untrusted.

Episodes are dealt out over a few processes and live there, one call at a time
each. A call past its deadline ends its process, and with it the other episodes
in it, which fail at their next call; what begins later gets a new process. As
many processes as rows keep episodes apart altogether.

What is sent must be picklable: the task, snapshots and observations.
"""

import importlib.abc
import importlib.util
import multiprocessing
import os
import pathlib
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import util
from multiprocessing.connection import Connection
from typing import Any

from rlx import config
from rlx.rollout import lost, seats

STARTING = 60.0  # Seconds beyond its deadline of a process's first call.


class Processes:
  """Processes that outlive a batch: starting one takes about a second."""

  def __init__(self, workers: int, starting: float | int = STARTING):
    """Starts nothing yet.

    Args:
      workers: how many processes.
      starting: seconds that the first call of each may take beyond its
        deadline: there the process starts, and imports the environment.
    """
    self._workers = [_Worker(float(starting)) for _ in range(workers)]
    # Before the end of this process waits for them: they may be deaf to SIGTERM.
    util.Finalize(self, _kill, (self._workers,), exitpriority=10)

  def seat(self, row: int) -> seats.Seat:
    """Returns an empty seat in the process that the row's episodes live in."""
    lane = row % len(self._workers)
    return There(self._workers[lane], lane, row)

  def close(self) -> None:
    """Ends all processes."""
    _kill(self._workers)


def _kill(workers: "list[_Worker]") -> None:
  for worker in workers:
    worker.kill()


class There:
  """A seat in another process."""

  def __init__(self, worker: "_Worker", lane: int, name: int):
    self.lane = lane
    self._worker, self._name = worker, name
    self._life: _Life | None = None

  @property
  def allowance(self) -> float:
    return self._worker.allowance

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
    if self._life is None:
      raise RuntimeError(f"{method} of an episode that has not begun")
    return self._life.ask((self._name, method, args))


class _Worker:
  """One process at a time, or none yet."""

  def __init__(self, starting: float):
    self._starting = starting
    self._life: _Life | None = None
    self._lock = threading.Lock()  # Of starting and ending.

  @property
  def allowance(self) -> float:
    """Seconds that the next call may take longer, as it is a process's first."""
    life = self._life
    begun = life is not None and life.answered and life.is_alive()
    return 0.0 if begun else self._starting

  def start(self) -> "_Life":
    """Returns the process that lives now, or a new one."""
    with self._lock:
      if self._life is None or not self._life.is_alive():
        self._life = _Life()
      return self._life

  def kill(self) -> None:
    with self._lock:
      if self._life is not None:
        self._life.kill()
        self._life = None


class _Life:
  """One process, from its start to its end.

  Attributes:
    answered: whether it has answered a call.
  """

  def __init__(self):
    context = multiprocessing.get_context("spawn")
    self._pipe, other = context.Pipe()
    self._process = context.Process(
      target=serve,
      args=(other, config.ran()),
      name="rlx-environment",
      daemon=True,
    )
    self._process.start()
    other.close()
    self.answered = self._ended = False
    # Held from a question to its answer, which would be another's without: a
    # call of a batch that was left early may still be under way.
    self._asking = threading.Lock()

  def is_alive(self) -> bool:
    return self._process.is_alive()

  def kill(self) -> None:
    """Ends it, at once and whoever asks; that raises then."""
    self._ended = True
    self._process.kill()
    self._process.join(1.0)

  def ask(self, message: tuple[int, str, tuple[Any, ...]]) -> Any:
    """Returns what a seat in the process answers, or raises what it raised."""
    data = _pickled(message)
    with self._asking:
      if self._ended:
        raise RuntimeError(
          "the process of this environment was ended, as another one in it did "
          "not answer in time; more of rollout.environment_workers keep them "
          "apart"
        )
      try:
        self._pipe.send_bytes(data)
        found = self._pipe.recv_bytes()
      except (EOFError, OSError) as error:
        raise RuntimeError(
          "the process of this environment has ended"
        ) from error
    self.answered = True
    kind, value = pickle.loads(found)
    if kind == "value":
      return value
    raise (
      seats.Unsuitable(value)
      if kind == "unsuitable"
      else lost.Elsewhere(*value)
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


class _Files(importlib.abc.MetaPathFinder):
  """Has the user's files imported by the names that they have in rlx."""

  def __init__(self, files: Mapping[str, str]):
    self._files = files

  def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
    del path, target
    file = self._files.get(fullname)
    return file and importlib.util.spec_from_file_location(fullname, file)


def serve(pipe: Connection, files: Mapping[str, str]) -> None:
  """Answers calls until the other end is closed; what a process does.

  Args:
    files: of the user's, by module, see `config.ran`. What they define is sent
      by its name; so is what they import from beside them.
  """
  # Ctrl-C is for the process that asks, which ends this one.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  os.environ["JAX_PLATFORMS"] = "cpu"  # The accelerator is the policy's.
  sys.meta_path.append(_Files(files))
  beside = dict.fromkeys(str(pathlib.Path(x).parent) for x in files.values())
  sys.path += [x for x in beside if x not in sys.path]
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
  except BaseException as error:  # Of any kind: it costs its episode.
    found = lost.describe(error)
    return pickle.dumps(("error", (found.what, found.where, found.full)))
