"""Runs code that nobody has read: the parent's side."""

import dataclasses
import functools
import os
import sysconfig
import tempfile
from typing import Any, Literal, NamedTuple

from rlx.tools.sandbox import child
from rlx.tools.sandbox import running as runs

Layer = Literal["namespaces", "landlock", "seccomp"]
_LAYERS: tuple[Layer, ...] = ("namespaces", "landlock", "seccomp")
_REQUIRED = ("network", "files", "processes")
# Directories and files of libraries that extension modules load.
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")


class Outcome(NamedTuple):
  """What became of code.

  Attributes:
    output: what it wrote, to standard output and error, in that order.
    error: one line about what went wrong; None for nothing.
    seconds: it ran.
  """

  output: str
  error: str | None
  seconds: float

  @property
  def text(self) -> str:
    """What a policy is shown."""
    parts = [self.output.rstrip("\n")]
    if self.error is not None:
      parts.append(f"error: {self.error}")
    return "\n".join(x for x in parts if x) or "(no output)"


class Protections(NamedTuple):
  """What keeps code in on this machine: for each, the layers that do so.

  Attributes:
    network: no connection, to this machine or another.
    files: none is read but Python's own and `paths`, none written but in its
      folder.
    processes: none is started, seen, signalled or left behind.
  """

  network: tuple[str, ...]
  files: tuple[str, ...]
  processes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Sandbox:
  """A fresh, shut-in interpreter for each piece of code.

  Three layers are put on as far as the kernel permits, without root; the first
  alone is enough, and so are the other two. `protections` says what there is.

    namespaces  (Linux, where unprivileged ones are permitted; 5.12) An own
                network without devices; an own process tree, which dies as a
                whole; a root directory with nothing in it but Python's library,
                shared libraries and `paths`, read-only, and a folder in memory.
                Who comes as root becomes a user that nobody is.
    landlock    (Linux 6.2, with seccomp; signals and abstract sockets too from
                6.12) Only these paths can be opened; that others exist may be
                asked.
    seccomp     (Linux on x86-64 and arm64) No sockets, no other processes, no
                signals to others, no tracing, no memory outside the limits.

  Everywhere on Linux, too: limits of memory, processor time, size of files and
  open files; no new privileges; no core; an empty environment, so that no
  secret of the parent is in it; death with the parent; and after `timeout`
  seconds the process group is killed.

  What it does not protect from: bugs in the kernel; what can be learnt from
  time and load; reading what Python's own directory holds, and `paths`; use of
  processor and memory within the limits, which many sandboxes at once add up.
  Where only landlock keeps files (no namespaces), the folder lies on the disk
  and its size is looked at every 20 ms: at most for so long it can be larger.

  macOS has none of the three. There, and where network, files or processes
  cannot be kept, it refuses to run unless `unprotected` is set; then only
  process groups and limits hold, and on macOS not that of memory. Windows is
  not supported.
  """

  timeout: float | int = 5.0
  """Seconds that code may take; then it is killed."""
  cpu: float | int = 5.0
  """Seconds of processor time, rounded up."""
  memory: int = 512
  """MiB of address space."""
  folder: int = 16
  """MiB that the folder holds, and that a file may have."""
  output: int = 8192
  """Bytes of output that are kept; more ends the code."""
  threads: int = 32
  """Threads at once, where there are namespaces; elsewhere memory bounds them."""
  packages: tuple[str, ...] = ()
  """Directories, such as a site-packages, that can be read and imported from.
  Where rlx runs as root, these and `paths` must be readable for all."""
  paths: tuple[str, ...] = ()
  """Other files and directories that can be read."""
  unprotected: bool = False
  """Run even where network, files or other processes are not kept from it."""
  layers: tuple[Layer, ...] = _LAYERS
  """Layers that are tried; fewer are for tests of each alone."""

  def __post_init__(self):
    for name in ("timeout", "cpu", "memory", "folder", "output", "threads"):
      if getattr(self, name) <= 0:
        raise ValueError(f"{name}={getattr(self, name)}: must be positive")
    for name in ("packages", "paths"):
      for path in getattr(self, name):
        if not os.path.isabs(path) or not os.path.exists(path):
          raise ValueError(f"{name}: {path!r} is no absolute path that exists")

  def run(self, code: str) -> Outcome:
    """Runs code and returns what became of it; it never raises for the code.

    Raises:
      RuntimeError: it cannot be shut in here, or the child does not start.
    """
    if os.name != "posix":
      raise RuntimeError("the sandbox needs Linux, or macOS unprotected")
    limits = runs.Limits(float(self.timeout), self.output, self.folder)
    try:
      _, (kept, error, seconds) = self._run(code, limits)
    except runs.Missing as found:
      raise RuntimeError(_refusal(found.missing, found.layers)) from None
    text = kept.decode(errors="replace").replace("\0", "\ufffd")
    return Outcome(text, error, seconds)

  def _run(
    self, code: str, limits: runs.Limits
  ) -> tuple[list[str], runs.Ended]:
    """The layers that there were, and what became of code."""
    with tempfile.TemporaryDirectory(
      prefix="rlx-", ignore_cleanup_errors=True
    ) as folder:
      settings = self._settings(code, os.path.realpath(folder))
      with runs.started(settings) as running:
        running.wait_until_ready()
        return running.layers, running.finish(limits)

  def _settings(self, code: str, folder: str) -> dict[str, Any]:
    mib = 1 << 20
    return {
      "code": code,
      "folder": folder,
      "folder_size": self.folder * mib,
      "memory": self.memory * mib,
      "cpu": self.cpu,
      "threads": self.threads,
      "packages": self.packages,
      "readable": [*_python(), *_LIBRARIES, *self.packages, *self.paths],
      "layers": self.layers,
      "required": [] if self.unprotected else _REQUIRED,
      "parent": os.getpid(),
    }


@functools.cache
def _python() -> tuple[str, ...]:
  """Where Python's standard library is."""
  found = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
  return tuple(dict.fromkeys(map(os.path.realpath, found)))


@functools.cache
def protections(layers: tuple[Layer, ...] = _LAYERS) -> Protections:
  """What keeps code in on this machine, found out by trying once."""
  probe = Sandbox(unprotected=True, layers=layers)
  found, _ = probe._run("", runs.Limits(float(probe.timeout), 1024, 1))
  kept = [tuple(child.protectors(x, found)) for x in _REQUIRED]
  return Protections(*kept)


def check(sandbox: Sandbox) -> None:
  """Refuses a sandbox that cannot keep what it promises on this machine.

  Raises:
    RuntimeError: naming what cannot be kept.
  """
  kept = protections(sandbox.layers)._asdict()
  missing = [name for name in _REQUIRED if not kept[name]]
  if missing and not sandbox.unprotected:
    raise RuntimeError(_refusal(missing, []))


def _refusal(missing: list[str], layers: list[str]) -> str:
  return (
    f"this machine cannot keep {', '.join(missing)} from code in the sandbox"
    f" (there is: {', '.join(layers) or 'no layer'}; see Sandbox), so it does"
    " not run; set unprotected=True only for code that you trust"
  )
