"""The persistent compilation cache: what was compiled once is only loaded."""

import os
import pathlib

import jax

# Even the smallest program is loaded faster than it is compiled.
SHORTEST_SECONDS = 0.0


def use(directory: str | os.PathLike | None = None) -> pathlib.Path | None:
  """Turns the cache on and returns its directory; None where it is turned off.

  `JAX_COMPILATION_CACHE_DIR` wins over the default, `~/.cache/rlx/xla`;
  `RLX_COMPILATION_CACHE=off` turns it off.
  """
  if os.environ.get("RLX_COMPILATION_CACHE", "").lower() in ("off", "0"):
    return None
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  path = pathlib.Path(
    directory
    or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    or pathlib.Path(home) / "rlx" / "xla"
  )
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError:
    return None  # A read-only home: compile each time.
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update(
    "jax_persistent_cache_min_compile_time_secs", SHORTEST_SECONDS
  )
  return path
