"""Clocks and counters of a process."""

import os
import pathlib
import platform
import resource
import sys
import time
from importlib import metadata
from typing import Any

_IMPORTED = time.time()


def process_start() -> float:
  """Returns when this process was started, in seconds as `time.time()`.

  Read from the kernel, to 10 ms; where there is no /proc, the time at which
  this module was imported, which is a little later.
  """
  path = pathlib.Path("/proc/self/stat")
  if not path.exists():
    return _IMPORTED
  # After the name, which is in brackets and may hold anything; field 22.
  ticks = int(path.read_text().rpartition(")")[2].split()[19])
  up = time.clock_gettime(time.CLOCK_BOOTTIME)
  return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
  """Returns the time that all threads of this process have computed.

  On a machine shared with others it says more than the clock on the wall.
  """
  used = resource.getrusage(resource.RUSAGE_SELF)
  return used.ru_utime + used.ru_stime


def peak_mib() -> float:
  """Returns the most memory that this process has had resident, in MiB."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (2**20 if sys.platform == "darwin" else 2**10)


def surroundings() -> dict[str, Any]:
  """Returns what a number depends on beside the workload."""
  packages = ("rlx", "jax", "jaxlib", "flax", "optax", "numpy")
  return {
    "versions": {"python": platform.python_version()}
    | {name: _version(name) for name in packages},
    "machine": platform.machine(),
    "cores": os.cpu_count(),
    "load": list(os.getloadavg()),
  }


def _version(name: str) -> str:
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return "unknown"
