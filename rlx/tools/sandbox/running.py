"""One child, from its start to its end: the parent's side."""

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from rlx.tools.sandbox import child

_START = 20.0  # Seconds until a child must have shut itself in.
_TICK = 0.02
_BOOT = (
  "import sys; sys.path.insert(0, sys.argv[1]);"
  "from rlx.tools.sandbox import child; child.main()"
)


class Limits(NamedTuple):
  """When a child is stopped: after seconds, bytes of output, MiB of folder."""

  timeout: float
  output: int
  folder: int


class Ended(NamedTuple):
  """What is left of a child: its output, what went wrong, and seconds."""

  output: bytes
  error: str | None
  seconds: float


class Missing(Exception):
  """The child did not run the code: what cannot be kept, and the layers."""

  def __init__(self, missing: list[str], layers: list[str]):
    super().__init__(missing, layers)
    self.missing, self.layers = missing, layers


@contextlib.contextmanager
def started(settings: dict[str, Any]) -> Iterator["Running"]:
  """A child with these settings, see `child`; killed in the end."""
  status, theirs = os.pipe()
  try:
    process = _start(settings, theirs)
  except BaseException:
    os.close(status)
    raise
  finally:
    os.close(theirs)
  running = Running(process, status, settings["folder"])
  try:
    yield running
  finally:
    running.close()


def _start(settings: dict[str, Any], status: int) -> "subprocess.Popen[bytes]":
  root = str(pathlib.Path(child.__file__).parents[3])
  # A file: writing to a pipe could wait for a child that does not read.
  with tempfile.TemporaryFile() as source:
    source.write(json.dumps(settings).encode())
    source.seek(0)
    # -P -s -S are what is left of -I where the environment is our own; so that
    # a set has the same order in every run.
    return subprocess.Popen(
      [
        *(sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8"),
        *("-c", _BOOT, root, str(status)),
      ],
      stdin=source,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      pass_fds=(status,),
      env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
      cwd=settings["folder"],
      start_new_session=True,
    )


class Running:
  """One child.

  Attributes:
    layers: that it has put on.
  """

  def __init__(
    self, process: "subprocess.Popen[bytes]", status: int, folder: str
  ):
    assert process.stdout is not None
    self.layers: list[str] = []
    self._process, self._status, self._folder = process, status, folder
    self._pipe = process.stdout
    os.set_blocking(self._pipe.fileno(), False)
    self._kept = bytearray()
    self._over = False  # Whether the pipe is at its end.
    self._ready = time.monotonic()

  def wait_until_ready(self) -> None:
    """Waits until the code is about to run.

    Raises:
      Missing: the child cannot be shut in as is required.
      RuntimeError: it does not start.
    """
    line, deadline = b"", time.monotonic() + _START
    while not line.endswith(b"\n"):
      left = deadline - time.monotonic()
      if left < 0 or not _readable(self._status, left):
        raise RuntimeError(f"the sandbox did not start within {_START:g} s")
      piece = os.read(self._status, 65536)
      line += piece
      if not piece:
        self._read(1 << 16)
        said = self._kept.decode(errors="replace")[-500:]
        raise RuntimeError(f"the sandbox ended while it started: {said}")
    told = json.loads(line)
    self.layers = told.get("layers", [])
    if "missing" in told:
      raise Missing(told["missing"], self.layers)
    if "refused" in told:
      raise RuntimeError(f"the sandbox cannot be made: {told['refused']}")
    self._ready = time.monotonic()

  def finish(self, limits: Limits) -> Ended:
    """Waits for the end, or makes it."""
    reason = None
    while self._process.poll() is None and reason is None:
      left = self._ready + limits.timeout - time.monotonic()
      reason = self._beyond(limits, left)
      if reason is None:
        self._wait(min(left, _TICK))
        self._read(limits.output + 1)
    self.kill()
    self._read(limits.output + 1)
    reason = reason or self._beyond(limits, 1.0, ended=True)
    if reason is None:
      reason = _error(self._process.returncode)
    seconds = time.monotonic() - self._ready
    return Ended(bytes(self._kept[: limits.output]), reason, seconds)

  def _beyond(
    self, limits: Limits, left: float, ended: bool = False
  ) -> str | None:
    """Which limit has been passed; None for none."""
    if left <= 0:
      return f"not finished after {limits.timeout:g} s, and stopped"
    if len(self._kept) > limits.output:
      return f"more than {limits.output} bytes of output"
    on_disk = "mounts" not in self.layers and not ended
    if on_disk and _size(self._folder) > limits.folder << 20:
      return f"more than {limits.folder} MiB in the folder"
    return None

  def _wait(self, seconds: float) -> None:
    """Waits for output, or a while."""
    if self._over:
      time.sleep(seconds)
    else:
      _readable(self._pipe.fileno(), seconds)

  def _read(self, most: int) -> None:
    """Takes what is in the pipe, up to `most` bytes in all."""
    while not self._over and len(self._kept) < most:
      try:
        piece = os.read(self._pipe.fileno(), most - len(self._kept))
      except BlockingIOError:
        return
      self._kept += piece
      self._over = not piece

  def kill(self) -> None:
    """Kills the group; everything in its namespaces dies with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()

  def close(self) -> None:
    """Leaves nothing of it but the folder."""
    self.kill()
    self._pipe.close()
    os.close(self._status)


def _readable(handle: int, seconds: float) -> bool:
  """Whether there is something to read, or the end, within some seconds."""
  poll = select.poll()  # `select` knows no handles beyond 1023.
  poll.register(handle, select.POLLIN)
  return bool(poll.poll(max(seconds, 0.0) * 1000))


def _size(folder: str) -> int:
  """Bytes on the disk in a folder."""
  total = 0
  for top, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(OSError):
        total += os.lstat(os.path.join(top, name)).st_blocks * 512
  return total


def _error(status: int) -> str | None:
  """Says what an exit status means."""
  number = -status if status < 0 else status - child.SIGNALLED
  if status == 0:
    return None
  if number <= 0:
    return f"exit status {status}"
  try:
    name = signal.Signals(number).name
  except ValueError:
    return f"exit status {status}"
  reason = {
    "SIGSEGV": "the interpreter crashed, as by too deep a recursion",
    "SIGABRT": "the interpreter gave up",
    "SIGXCPU": "out of processor time",
    "SIGKILL": "killed, out of processor time or memory",
  }
  return f"{reason.get(name, 'ended by a signal')} ({name})"
