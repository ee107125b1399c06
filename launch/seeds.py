"""Runs experiments over several seeds, and prints one table of their results.

    python launch/seeds.py quickstart quickstart:salt --seeds 0 1 2 --steps 50

NAME:RECIPE is the experiment with another method. Every run is a directory of its
own, runs/NAME-seedN or runs/NAME-RECIPE-seedN, and resumes; those that have a
summary already are only read. What follows the seeds is handed on.
"""

import json
import pathlib
import statistics
import subprocess
import sys

from rlx.view import console


def main(arguments: list[str]) -> int:
  """Returns the exit code of the first run that failed, else 0."""
  if "--seeds" not in arguments or "--help" in arguments:
    print(__doc__)
    return 2
  names = arguments[: arguments.index("--seeds")]
  rest = arguments[len(names) + 1 :]
  seeds: list[int] = []
  while rest and rest[0].isdecimal():
    seeds.append(int(rest.pop(0)))
  if not names or not seeds:
    print(__doc__)
    return 2
  rows = []
  for name in names:
    found = []
    for seed in seeds:
      code, summary = run(name, seed, rest)
      if code:
        return code
      found.append(summary)
      rows.append([name, str(seed), *cells(summary)])
    mean = statistics.fmean(x["eval/success"] for x in found)
    rows.append([name, "mean", "", f"{mean:.3f}", "", ""])
  console.Console().table(
    "success on what was held out",
    ["experiment", "seed", "before", "after", "greedy", "seconds"],
    rows,
  )
  return 0


def run(name: str, seed: int, rest: list[str]) -> tuple[int, dict]:
  """Returns exit code and summary of one run."""
  config, _, recipe = name.partition(":")
  parts = [
    pathlib.Path(config).stem,
    *[recipe.replace("_", "-")] * bool(recipe),
  ]
  path = pathlib.Path("runs") / "-".join([*parts, f"seed{seed}"])
  summary = path / "summary.json"
  if not summary.exists():
    command = [sys.executable, "-m", "rlx.cli", "train", config]
    command += ["--recipe", recipe] * bool(recipe)
    command += ["--seed", str(seed), "--workdir", str(path), *rest]
    code = subprocess.run(command, check=False).returncode
    if code:
      return code, {}
  return 0, json.loads(summary.read_text())


def cells(summary: dict) -> list[str]:
  """Returns before, after, greedy and seconds as text."""
  low, high = summary["eval/success_interval"]
  return [
    f"{summary['eval/success_before']:.3f}",
    f"{summary['eval/success']:.3f} ({low:.3f}–{high:.3f})",
    f"{summary.get('eval/greedy/success', float('nan')):.3f}",
    f"{summary['wall_s']:.0f}",
  ]


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
