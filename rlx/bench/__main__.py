"""`python -m rlx.bench NAME STEPS`: one workload in this process, as JSON."""

import json
import sys

from rlx import cache
from rlx.bench import run, workloads


def main(name: str, steps: str) -> None:
  """Prints one JSON object."""
  cache.use()
  print(json.dumps(run.run(workloads.ALL[name], int(steps))))


if __name__ == "__main__":
  main(*sys.argv[1:])
