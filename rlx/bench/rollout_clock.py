"""Several ways to do the same, timed in turns in one process."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from rlx.bench import measure

Spent = Mapping[str, list[dict[str, float]]]


def alternate(
  ways: Mapping[str, Callable[[], Any]], repeats: int
) -> tuple[Spent, dict[str, Any]]:
  """Returns the seconds of each call of each way, and what the last gave.

  Whatever else the machine does hits all of them. Each is called once before,
  and compiled.
  """
  spent: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
  found = {name: call() for name, call in ways.items()}
  for _ in range(repeats):
    for name, call in ways.items():
      began, used = time.perf_counter(), measure.cpu_seconds()
      found[name] = call()
      wall = time.perf_counter() - began
      spent[name].append({"s": wall, "cpu_s": measure.cpu_seconds() - used})
  return spent, found


def rates(spent: Spent, tokens: int) -> dict[str, Any]:
  """Returns seconds, and tokens/s of the fastest and of the median call."""
  out: dict[str, Any] = {}
  for name, calls in spent.items():
    seconds = [call["s"] for call in calls]
    out[name] = {
      "s": seconds,
      "cpu_s": [call["cpu_s"] for call in calls],
      "tokens_per_s": tokens / statistics.median(seconds),
      "tokens_per_s_fastest": tokens / min(seconds),
    }
  return out


def ratio(spent: Spent, slow: str, fast: str) -> dict[str, float]:
  """Returns how many times as long `slow` takes: medians, fastest, CPU."""
  of = lambda name, what: [call[what] for call in spent[name]]
  mid = lambda name, what: statistics.median(of(name, what))
  return {
    "median": mid(slow, "s") / mid(fast, "s"),
    "fastest": min(of(slow, "s")) / min(of(fast, "s")),
    "cpu": mid(slow, "cpu_s") / mid(fast, "cpu_s"),
  }
