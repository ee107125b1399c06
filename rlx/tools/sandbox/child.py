"""What runs in the child: it shuts itself in, and then runs the code.

    launcher        in the host's world; waits, and dies with its parent
      first         the first process of the namespaces; all in them die with it
        runner      shut in entirely; runs the code

Without namespaces the first process is the runner. Nothing here is reached by
an import of rlx: `run` starts it with Python's standard library alone.
"""

import ast
import contextlib
import json
import linecache
import math
import os
import resource
import signal
import sys
import threading
import traceback
import types
from typing import Any

from rlx.tools.sandbox import kernel, landlock, namespaces, seccomp

_NAME = "<code>"
SIGNALLED = 128  # And the signal's number: the exit status of one killed by it.


def main() -> None:
  """Runs the code of the settings on standard input; never returns."""
  status = int(sys.argv[2])
  settings = json.loads(_read_all(0))
  nothing = os.open(os.devnull, os.O_RDONLY)
  os.dup2(nothing, 0)
  os.close(nothing)
  os.chdir(settings["folder"])
  layers: list[str] = []
  how = ""
  if sys.platform == "linux":
    _die_with_parent()
    if os.getppid() != settings["parent"]:
      os._exit(1)
    if "namespaces" in settings["layers"]:
      with contextlib.suppress(OSError):
        how = namespaces.unshare()
        layers += ["network namespace", "process namespace"]
  held, let_go = os.pipe()  # At its end when the launcher has died.
  pid = os.fork()
  if pid:
    os.close(held)
    _close(status)
    os._exit(_wait_for(pid))
  os.close(let_go)
  try:
    _first(settings, layers, how, status, held)
  except BaseException as error:
    _say(status, {"refused": f"{type(error).__name__}: {error}"})
    os._exit(1)


def _first(
  settings: dict[str, Any], layers: list[str], how: str, status: int, held: int
) -> None:
  """Goes on in the first process of the namespaces, or in the runner."""
  folder = settings["folder"]
  if how:
    try:
      user, group = namespaces.enter(
        folder, settings["readable"], settings["folder_size"], how
      )
      namespaces.become(user, group)
      folder = namespaces.FOLDER
      layers.append("mounts")
    except OSError:
      _chdir(folder)
  if sys.platform == "linux":
    _die_with_parent()  # Again: who becomes another user has to.
    os.set_blocking(held, False)
    with contextlib.suppress(BlockingIOError):
      if not os.read(held, 1):
        os._exit(1)
    _shut_in(settings, layers, folder)
  os.close(held)
  if how:
    pid = os.fork()
    if pid:
      _close(status)
      os._exit(_wait_for(pid))
  _limit(settings, bool(how))
  if sys.platform == "linux" and "seccomp" in settings["layers"]:
    with contextlib.suppress(OSError):
      seccomp.install(files="mounts" not in layers)
      layers.append("seccomp")
  missing = [x for x in settings["required"] if not protectors(x, layers)]
  if missing:
    _say(status, {"refused": "", "missing": missing, "layers": layers})
    os._exit(1)
  _prepare(settings, folder)
  _say(status, {"layers": layers})
  os.close(status)
  os._exit(_execute(settings["code"]))


def protectors(what: str, layers: list[str]) -> list[str]:
  """Those of the layers that keep "network", "files" or "processes".

  Landlock keeps files only with a filter beside it, for what it does not look
  at, and from version 3, which looks at truncation.
  """
  able = {
    "network": ("network namespace", "seccomp"),
    "files": ("mounts",),
    "processes": ("process namespace", "seccomp"),
  }[what]
  found = [layer for layer in layers if layer in able]
  if what == "files" and "seccomp" in layers:
    found += [x for x in layers if x.startswith("landlock") and int(x[9:]) > 2]
  return found


def _shut_in(settings: dict[str, Any], layers: list[str], folder: str) -> None:
  """No way back to any right, and no files but those."""
  with contextlib.suppress(OSError):
    kernel.drop_capabilities()
  kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
  kernel.prctl(kernel.SET_DUMPABLE, 0)
  if "landlock" not in settings["layers"]:
    return
  readable = [*settings["readable"], *namespaces.DEVICES]
  if "mounts" in layers:
    readable = ["/"]
  with contextlib.suppress(OSError):
    version = landlock.restrict(readable, [folder, os.devnull])
    layers.append(f"landlock {version}")


def _limit(settings: dict[str, Any], apart: bool) -> None:
  """Sets the limits, hard ones: they cannot be raised again."""
  cpu = math.ceil(settings["cpu"])
  limits = {
    "RLIMIT_AS": (settings["memory"],) * 2,
    "RLIMIT_CPU": (cpu, cpu + 1),
    "RLIMIT_FSIZE": (settings["folder_size"],) * 2,
    "RLIMIT_NOFILE": (64, 64),
    "RLIMIT_CORE": (0, 0),
  }
  if apart:  # Elsewhere the user's other processes would count too.
    limits["RLIMIT_NPROC"] = (settings["threads"],) * 2
  for name, limit in limits.items():
    # macOS knows no limit of memory that holds.
    with contextlib.suppress(ValueError, OSError, AttributeError):
      resource.setrlimit(getattr(resource, name), limit)


def _prepare(settings: dict[str, Any], folder: str) -> None:
  """Leaves an interpreter that looks as if it had just been started."""
  for name in [x for x in sys.modules if x.split(".")[0] == "rlx"]:
    del sys.modules[name]
  sys.path[:] = [x for x in sys.path if x != sys.argv[1]]
  sys.path[:0] = [folder, *settings["packages"]]
  sys.argv = [_NAME]
  for name in ("HOME", "TMPDIR", "PWD"):
    os.environ[name] = folder
  _chdir(folder)


def _execute(code: str) -> int:
  """Runs code as a notebook would: a last expression is shown."""
  module = types.ModuleType("__main__")
  sys.modules["__main__"] = module
  names = vars(module) | {"exit": sys.exit, "quit": sys.exit}
  module.__dict__.update(names)
  lines = [line[:200] for line in code.splitlines(keepends=True)]
  linecache.cache[_NAME] = (len(code), None, lines, _NAME)
  status = 0
  try:
    for part in _parts(code):
      exec(part, vars(module))
    if "threading" in sys.modules:
      for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
          thread.join()
  except SystemExit as stop:
    if stop.code is not None and not isinstance(stop.code, int):
      _write(f"{stop.code}\n")
    status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
  except BaseException as error:
    vars(module).clear()  # What it filled the memory with.
    _show(error)
    status = 1
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  return status & 0x7F or bool(status)


def _parts(code: str) -> list[types.CodeType]:
  tree = ast.parse(code, _NAME)
  last: list[types.CodeType] = []
  if tree.body and isinstance(tree.body[-1], ast.Expr):
    shown = ast.Interactive([tree.body.pop()])
    last = [compile(shown, _NAME, "single")]
  return [compile(tree, _NAME, "exec"), *last]


def _show(error: BaseException) -> None:
  """Writes the traceback, without the frames of this file."""
  try:
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != _NAME:
      trace = trace.tb_next
    traceback.clear_frames(trace)
    if isinstance(error, SyntaxError) and len(error.text or "") > 200:
      error.text = None
    lines = traceback.format_exception(type(error), error, trace, limit=-8)
    _write("".join(lines))
  except BaseException:
    _write(f"{type(error).__name__}\n")


def _write(text: str) -> None:
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  with contextlib.suppress(OSError):
    os.write(2, text.encode(errors="replace"))


def _die_with_parent() -> None:
  kernel.prctl(kernel.SET_PDEATHSIG, signal.SIGKILL)


def _wait_for(pid: int) -> int:
  """Waits for a child's end, and buries what is orphaned; its exit status."""
  while True:
    found, status = os.waitpid(-1, 0)
    if found == pid:
      code = os.waitstatus_to_exitcode(status)
      return code if code >= 0 else SIGNALLED - code


def _close(status: int) -> None:
  """Lets go of the pipes, so that they end with the code."""
  os.close(status)
  nothing = os.open(os.devnull, os.O_RDWR)
  for handle in (1, 2):
    os.dup2(nothing, handle)


def _read_all(handle: int) -> bytes:
  with open(handle, "rb", closefd=False) as file:
    return file.read()


def _chdir(folder: str) -> None:
  with contextlib.suppress(OSError):
    os.chdir(folder)


def _say(status: int, what: dict[str, Any]) -> None:
  with contextlib.suppress(OSError):
    os.write(status, json.dumps(what).encode() + b"\n")
