"""The whole study: every recipe, on every set of worlds, at every budget."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlx import objective
from rlx.credit import links
from rlx.fidelity import arena, evidence, measure, tables, worlds
from rlx.recipes import recipe as recipes

QUICK = arena.Size(groups=(2, 8), extras=(0, 4), num_prompts=4, num_batches=8)

# What a recipe's credit is made from, the first that applies.
FAMILIES = {
  "tree": "branches of a tree compared",
  "continuations": "values by continuations",
  "critic": "values by a critic",
  "states": "steps from one state compared",
  "steps": "evidence about each step",
  "outcome": "outcomes alone",
  "control": "controls",
}
EXACT, NOISE, EXACT_TREE = "(exact)", "(noise)", "(exact tree)"

# Outcomes alone, which most recipes set out to improve.
REFERENCE = "grpo"
GAIN = (
  f"cosine less that of {REFERENCE} at the same group size, on the same draws"
)

Make = Callable[[], recipes.Recipe]


def exact_credit() -> recipes.Recipe:
  """The exact advantages: what no credit can do better than."""
  return _control(EXACT)


def random_credit() -> recipes.Recipe:
  """Noise: what any credit should do better than."""
  return _control(NOISE)


def exact_tree_credit() -> recipes.Recipe:
  """The exact advantages on trees, where every edge is learnt from once."""
  return _control(EXACT_TREE, "parent")


def _control(name: str, *evidence: str) -> recipes.Recipe:
  column = arena.EXACT if name != NOISE else "noise"
  return recipes.Recipe(
    name=name,
    credit=links.evidence(column),
    objective=objective.reinforce(objective.Terms()),
    formula=f"A = {column}",
    evidence=(column, *evidence),
  )


CONTROLS: tuple[Make, ...] = (exact_credit, random_credit, exact_tree_credit)


def family(made: recipes.Recipe) -> str:
  """The key of `FAMILIES` that says what the credit is made from."""
  read = {*made.evidence}
  if made.name in (EXACT, NOISE, EXACT_TREE):
    return "control"
  if arena.is_tree(made):
    return "tree"
  if evidence.continues(made):
    return "continuations"
  if read & {"process", "progress", "implicit_reward", "information_gain"}:
    return "steps"
  if "value" in read:
    return "critic"
  if read & {"state", "next_state", "action"}:
    return "states"
  return "steps" if read - {"length", *evidence.KEYS} else "outcome"


def run(
  makes: Sequence[Make],
  size: arena.Size = arena.Size(),
  seed: int = 0,
  progress: Callable[[int, str], None] = lambda done, name: None,
) -> dict[str, Any]:
  """The study as JSON values; see the README beside for what is in it.

  A recipe that cannot be measured here has the reason as its `skipped`. One
  whose numbers are those of an earlier one, but for the scale of its credit,
  has that one's name as its `same_as`.
  """
  sets = [make(size.num_prompts) for make in worlds.ALL]
  turns = max(world.horizon for world in sets)
  arenas = [arena.Arena(world, size, seed, turns) for world in sets]
  listed, measured, seen = [], {}, {}
  everything = [*CONTROLS, *makes]
  for done, make in enumerate(everything):
    made = make()
    progress(done, made.name)
    entry, found = _measure(made, arenas, size, seen, seed)
    listed.append(entry)
    measured |= found
  progress(len(everything), "")
  return {
    "seed": seed,
    "size": size._asdict(),
    "worlds": [_describe(one) for one in arenas],
    "formulas": measure.FORMULAS | {"gain": GAIN},
    "families": FAMILIES,
    "recipes": listed,
    "records": [_record(key, measured) for key in measured],
  }


class _Key(NamedTuple):
  recipe: str
  world: str
  group: int
  extra: int | None


class _Measured(NamedTuple):
  samples: float
  steps: float
  metrics: dict[str, measure.Found]


def _measure(
  made, arenas, size, seen, seed
) -> tuple[dict[str, Any], dict[_Key, _Measured]]:
  """A recipe's entry, and what was measured of it."""
  entry: dict[str, Any] = {
    "name": made.name,
    "family": family(made),
    "simulated": evidence.simulated(made.evidence),
    "same_as": None,
    "skipped": None,
  }
  absent = evidence.missing(made.evidence)
  if absent:
    columns = ", ".join(absent)
    entry["skipped"] = f"it reads {columns}, which these worlds do not have"
    return entry, {}
  assign = tables.assign(made)
  found = {}
  try:
    for one in arenas:
      for cell in arena.cells(made, size):
        key = _Key(made.name, one.world.name, *cell)
        found[key] = _judge(one, made, assign, cell, seed)
  except ValueError as error:
    entry["skipped"] = str(error).splitlines()[0]
    return entry, {}
  numbers = tuple(
    (*key[1:], *(round(x.value, 4) for x in one.metrics.values()))
    for key, one in found.items()
  )
  first = seen.setdefault(numbers, made.name)
  entry["same_as"] = first if first != made.name else None
  return entry, found


def _judge(one, made, assign, cell, seed) -> _Measured:
  judged = one.judge(made, assign, cell)
  # One seed for all, so that differences between recipes are paired.
  rng = np.random.default_rng(seed)
  found = measure.measure(
    judged.rows, one.truth.policy, one.truth.gradient, rng
  )
  return _Measured(judged.samples, judged.steps, found)


def _record(key: _Key, measured: dict[_Key, _Measured]) -> dict[str, Any]:
  one = measured[key]
  reference = measured.get(_Key(REFERENCE, key.world, key.group, None))
  gain = None
  if reference is not None:
    other = reference.metrics["cosine"]
    gain = one.metrics["cosine"].minus(other).summary()
  return {
    **key._asdict(),
    "samples": round(one.samples, 2),
    "steps": round(one.steps, 2),
    "metrics": {name: x.summary() for name, x in one.metrics.items()},
    "gain": gain,
  }


def _describe(one: arena.Arena) -> dict[str, Any]:
  prompts = range(len(one.world.start))
  at = [(p, one.world.horizon, one.world.start[p]) for p in prompts]
  return {
    "name": one.world.name,
    "turns": one.world.horizon,
    "success": [round(float(one.truth.values[x]), 4) for x in at],
    "mean_steps": [round(float(one.truth.steps[x]), 4) for x in at],
  }
