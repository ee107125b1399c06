"""A workload in processes of its own: with an empty cache, then a warm one.

A start is only a start in a fresh process, and memory is only a workload's in a
process that does nothing else. The process that asks computes nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

# Of the second process only the first step is asked for.
WARM_STEPS = 1


def measure(name: str, steps: int) -> dict[str, Any]:
  """Runs a workload cold, then warm, and returns one object of JSON values.

  What there is about steps, memory and surroundings is the first process's.

  Raises:
    ValueError: a process failed; with what it wrote.
  """
  with tempfile.TemporaryDirectory(prefix="rlx-bench-") as directory:
    cold = _child(name, steps, directory)
    warm = _child(name, min(steps, WARM_STEPS), directory)
  starts = {
    f"{key}_{kind}": found[key]
    for key in ("start_to_first_step_s", "cpu_to_first_step_s")
    for kind, found in (("cold", cold), ("warm", warm))
  }
  rest = {key: x for key, x in cold.items() if f"{key}_cold" not in starts}
  return {"bench": name, **starts, **rest}


def _child(name: str, steps: int, directory: str) -> dict[str, Any]:
  command = [sys.executable, "-m", "rlx.cli", "bench", name, "--child"]
  done = subprocess.run(
    [*command, "--steps", str(steps)],
    env={
      **os.environ,
      "JAX_COMPILATION_CACHE_DIR": directory,
      "RLX_COMPILATION_CACHE": "on",
    },
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    raise ValueError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
  return json.loads(done.stdout)
