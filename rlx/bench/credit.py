"""How long credit takes: every recipe's, on tables of several sizes."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from rlx import credit, recipes
from rlx.bench import credit_table, measure, plain

ROWS = (2**12, 2**14, 2**17)


def run(
  rows: Sequence[int] = ROWS,
  methods: Sequence[Callable[..., recipes.Recipe]] = recipes.ALL,
  repeats: int = 15,
  report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
  """Returns milliseconds of one compiled call, by recipe and number of rows.

  `median_ms`, `min_ms` and, for the recipes in `plain.ALL`, `plain_ms` and
  `ratio` (plain / median) have an entry for each of `rows`. Every estimator is
  one program with the table already on the device and nothing fetched; the
  plain version has the same table on the host.

  Args:
    report: called with the number of recipes that are done.
  """
  found = []
  for done, method in enumerate(methods, 1):
    found.append(_one(method(), rows, repeats))
    report(done)
  return {
    "bench": "credit",
    "rows": list(rows),
    "repeats": repeats,
    "recipes": found,
    **measure.surroundings(),
  }


def _one(recipe, rows, repeats) -> dict[str, Any]:
  known = {f.__name__: f for f in plain.ALL}
  out: dict[str, Any] = {"name": recipe.name, "median_ms": [], "min_ms": []}
  if recipe.name in known:
    out |= {"plain_ms": [], "ratio": []}
  for size in rows:
    table = credit_table.make(recipe, size)
    state = recipe.credit.init()
    f = jax.jit(lambda s, t: credit.advantages(recipe.credit, s, t))
    jax.block_until_ready(f(state, table))
    taken = [_time(f, state, table) for _ in range(repeats)]
    out["median_ms"].append(statistics.median(taken))
    out["min_ms"].append(min(taken))
    if recipe.name in known:
      columns = plain.columns(table)
      out["plain_ms"].append(_time(known[recipe.name], columns))
      out["ratio"].append(out["plain_ms"][-1] / out["median_ms"][-1])
  return out


def _time(f: Callable[..., Any], *args: Any) -> float:
  began = time.perf_counter()
  jax.block_until_ready(f(*args))
  return 1e3 * (time.perf_counter() - began)
