"""The ledger: an entry for each recipe and each part, as JSON values."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import batch
from rlx.ledger import (
  batches,
  evidence,
  expected,
  forests,
  mdps,
  parts,
  verdicts,
)
from rlx.recipes import recipe as recipes

Entry = dict[str, Any]

# Columns that every step table has, whatever the recipe.
ALWAYS = ("length",)


class _Wanted(NamedTuple):
  """What is looked at; see `parts.Part`."""

  recipe: recipes.Recipe
  kind: str
  about: str
  critic: bool = True


def ledger(
  methods: Sequence[Callable[..., recipes.Recipe]],
  *,
  with_parts: bool = True,
  workers: int = 2,
) -> dict[str, Any]:
  """Returns the whole ledger.

  Args:
    methods: recipes as functions; the published settings are looked at.
    with_parts: look at `parts` too.
    workers: threads; nearly all of the time is spent in compilers.
  """
  wanted = [_Wanted(m(), "recipe", _about(m)) for m in methods]
  if with_parts:
    wanted += [
      _Wanted(part.made, "part", part.about, part.critic)
      for part in parts.parts()
    ]
  names = sorted({*ALWAYS, *(x for w in wanted for x in _extras(w.recipe))})
  with _double():
    cases = batches.every_case()
    drawn = {"groups": batches.batches(cases, names)}
    if any(_layout(w.recipe) == "trees" for w in wanted):
      drawn["trees"] = forests.forests(cases, names)

  programs: expected.Programs = {}

  def one(want):
    with _double():
      return _entry(want, cases, drawn[_layout(want.recipe)], programs)

  with futures.ThreadPoolExecutor(workers) as pool:
    entries = list(pool.map(one, wanted))
  return {
    "processes": [{"name": m.name, "about": m.about} for m in mdps.ALL],
    "cases": [case.name for case in cases],
    "entries": entries,
  }


@contextlib.contextmanager
def _double() -> Iterator[None]:
  """float64 in this thread, on the CPU: not every accelerator has it."""
  with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
    yield


def _layout(recipe: recipes.Recipe) -> str:
  """Whether it samples "groups" or grows "trees"."""
  return "trees" if "parent" in recipe.evidence else "groups"


def _about(method: Callable[..., recipes.Recipe]) -> str:
  return (method.__doc__ or "").strip().partition("\n")[0]


def _extras(recipe: recipes.Recipe) -> list[str]:
  """The evidence that the ledger fills; what it does not know is left out."""
  return [n for n in recipe.evidence if n not in _FIELDS and not _unknown(n)]


_FIELDS = tuple(x for x in batch.Steps.__annotations__ if x != "extras")


def _unknown(name: str) -> bool:
  try:
    return name not in _FIELDS and not evidence.told(name)
  except LookupError:
    return True


def _entry(
  wanted: _Wanted,
  cases: Sequence[batches.Case],
  drawn: batches.Batches,
  programs: expected.Programs,
) -> Entry:
  """What is found about one recipe."""
  recipe = wanted.recipe
  entry: Entry = {
    "name": recipe.name,
    "kind": wanted.kind,
    "about": wanted.about,
    "samples": _layout(recipe),
    "formula": recipe.formula,
  }
  unknown = [name for name in recipe.evidence if _unknown(name)]
  if unknown:
    why = f"unknown evidence: {', '.join(unknown)}"
    return entry | {"told": {}, "unknown": why}
  extras = _extras(recipe)
  told = {name: evidence.told(name).words for name in extras}
  if "value" in recipe.evidence:
    told["value"] = "exact, of the current policy" if wanted.critic else "0"
  drawn = drawn._replace(table=_narrow(drawn.table, extras, wanted.critic))
  try:
    found = expected.gradients(recipe, cases, drawn, programs)
  except ValueError as error:  # It reads a column that it does not name.
    return entry | {"told": told, "unknown": f"unknown evidence: {error}"}
  pairs = list(zip(cases, found, strict=True))
  of_credit = [verdicts.compare(c, g.true, g.credit) for c, g in pairs]
  of_loss = [verdicts.compare(c, g.true, g.objective) for c, g in pairs]
  return entry | {
    "told": told,
    "credit": _json(of_credit),
    "objective": _json(of_loss),
  }


def _narrow(
  table: batches.Table, extras: Sequence[str], critic: bool
) -> batches.Table:
  """The table with no more evidence than was asked for."""
  steps, values = table["steps"], table["values"]
  value = steps["value"]
  if not critic:
    value, values = jnp.zeros_like(value), jnp.zeros_like(values)
  kept = {name: steps["extras"][name] for name in (*ALWAYS, *extras)}
  steps = steps | {"extras": kept, "value": value}
  return table | {"steps": steps, "values": values}


def _json(comparisons: Sequence[verdicts.Comparison]) -> dict[str, Any]:
  """A verdict, and the numbers that it was made of, in the order of cases."""
  verdict = dataclasses.asdict(verdicts.judge(comparisons))
  angles = [c.angle for c in comparisons]
  return verdict | {
    "vanishes": list(verdict["vanishes"]),
    "factors": [round(c.factor, 9) for c in comparisons],
    "angles": [None if a is None else round(a, 6) for a in angles],
  }
