"""The whole study: every recipe, on every set of worlds, at every budget."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
  listed, records, seen = [], [], {}
  everything = [*CONTROLS, *makes]
  for done, make in enumerate(everything):
    made = make()
    progress(done, made.name)
    entry, found = _measure(made, arenas, size, seen)
    listed.append(entry)
    records += found
  progress(len(everything), "")
  return {
    "seed": seed,
    "size": size._asdict(),
    "worlds": [_describe(one) for one in arenas],
    "formulas": measure.FORMULAS,
    "families": FAMILIES,
    "recipes": listed,
    "records": records,
  }


def _measure(made, arenas, size, seen) -> tuple[dict[str, Any], list[dict]]:
  """A recipe's entry and its records."""
  read = made.evidence
  entry: dict[str, Any] = {
    "name": made.name,
    "family": family(made),
    "simulated": evidence.simulated(read),
    "same_as": None,
    "skipped": None,
  }
  absent = evidence.missing(read)
  if absent:
    columns = ", ".join(absent)
    entry["skipped"] = f"it reads {columns}, which these worlds do not have"
    return entry, []
  assign = tables.assign(made)
  try:
    records = [
      _record(one, made, assign, cell)
      for one in arenas
      for cell in arena.cells(made, size)
    ]
  except ValueError as error:
    entry["skipped"] = str(error).splitlines()[0]
    return entry, []
  print_of = tuple(_fingerprint(records))
  entry["same_as"] = seen.setdefault(print_of, made.name)
  if entry["same_as"] == made.name:
    entry["same_as"] = None
  return entry, records


def _fingerprint(records: Iterable[dict]) -> Iterable[Any]:
  for record in records:
    yield (
      record["world"],
      record["group"],
      record["extra"],
      *(round(metric["value"], 4) for metric in record["metrics"].values()),
    )


def _record(one, made, assign, cell) -> dict[str, Any]:
  judged = one.judge(made, assign, cell)
  found = measure.measure(
    judged.rows,
    one.truth.policy,
    one.truth.gradient,
    one.context(cell).rng("bootstrap"),
  )
  return {
    "recipe": made.name,
    "world": one.world.name,
    "group": cell.group,
    "extra": cell.extra,
    "samples": round(judged.samples, 2),
    "steps": round(judged.steps, 2),
    "metrics": {
      name: dict(zip(("value", "low", "high"), x, strict=True))
      for name, x in found.items()
    },
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
