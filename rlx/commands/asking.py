"""What an environment is asked: it may raise, or never answer."""

import contextlib
import pathlib
import sys
import sysconfig
import threading
import traceback
import types
from collections.abc import Iterator

import rlx

_PATIENCE = 3.0  # Seconds after which a person is told.


@contextlib.contextmanager
def asked() -> Iterator[None]:
  """Says so where what is asked inside does not answer for long.

  Raises:
    ValueError: code that is neither rlx's nor a library's raised; it says
      where, in one line. All else is raised as it is.
  """
  told = "  [no answer yet; Ctrl-C leaves]"
  # Not among the output, which may be JSON.
  say = lambda: print(told, file=sys.stderr, flush=True)
  timer = threading.Timer(_PATIENCE, say)
  timer.daemon = True
  timer.start()
  try:
    yield
  except Exception as error:
    if (at := _last_own(error.__traceback__)) is None:
      raise
    name, line = pathlib.Path(at.filename).name, at.lineno
    raise ValueError(
      f"the environment raised, in {name} line {line}: {error!r}"
    ) from error
  finally:
    timer.cancel()


def _last_own(
  trace: types.TracebackType | None,
) -> traceback.FrameSummary | None:
  """Returns the last frame of a user's file."""
  paths = sysconfig.get_paths()
  others = {paths[x] for x in ("stdlib", "platstdlib", "purelib", "platlib")}
  others.add(str(pathlib.Path(rlx.__file__).parent))
  theirs = lambda x: any(
    pathlib.Path(x).is_relative_to(other) for other in others
  )
  found = [
    frame
    for frame in traceback.extract_tb(trace)
    if not frame.filename.startswith("<") and not theirs(frame.filename)
  ]
  return found[-1] if found else None
