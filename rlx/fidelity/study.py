"""The whole study: every recipe, on every world, at every budget."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from rlx import objective
from rlx.credit import links
from rlx.fidelity import context as contexts
from rlx.fidelity import evidence, exact, measure, sample, tables, worlds
from rlx.fidelity import world as world_types
from rlx.recipes import recipe as recipes


class Size(NamedTuple):
  """How much is sampled.

  Attributes:
    groups: sizes of a group, or numbers of leaves of a tree.
    extras: continuations at each boundary, for recipes that use them.
    group: the size at which `extras` are varied.
    extra: the number with which `groups` are varied.
    num_prompts: worlds of each set.
    num_batches: drawn of each prompt.
  """

  groups: tuple[int, ...] = (2, 4, 8, 16)
  extras: tuple[int, ...] = (0, 1, 4, 16)
  group: int = 8
  extra: int = 4
  num_prompts: int = 8
  num_batches: int = 32


QUICK = Size(groups=(2, 8), extras=(0, 4), num_prompts=4, num_batches=8)


EXACT, NOISE = "exact", "noise"

def exact_credit() -> recipes.Recipe:
  """The exact advantages: what no credit can do better than."""
  return _control(EXACT)


def random_credit() -> recipes.Recipe:
  """Noise: what any credit should do better than."""
  return _control(NOISE)


def _control(column: str) -> recipes.Recipe:
  return recipes.Recipe(
    name=f"({column})",
    credit=links.evidence(column),
    objective=objective.reinforce(objective.Terms()),
    formula=f"A = {column}",
    evidence=(column,),
  )


CONTROLS = (exact_credit, random_credit)


class Arena:
  """A set of worlds with what was drawn from them, tables made once each."""

  def __init__(self, world: world_types.Worlds, size: Size, seed: int):
    self.world = world
    self.truth = exact.solve(world)
    self._seed = seed
    rng = np.random.default_rng([seed, *world.name.encode()])
    group = max(*size.groups, size.group)
    self._played = sample.chains(
      world, self.truth, size.num_batches, group, rng
    )

  def context(self, group: int, extra: int) -> contexts.Context:
    seed = (self._seed, *self.world.name.encode(), group, extra)
    played = sample.first(self._played, group)
    return contexts.Context(self.world, self.truth, played, extra, seed)


class Cell(NamedTuple):
  """One recipe on one set of worlds at one budget."""

  group: int
  extra: int | None  # None where the recipe draws no continuations.


def cells(made: recipes.Recipe, size: Size) -> list[Cell]:
  """The budgets at which a recipe is measured."""
  if not set(evidence.CONTINUED) & set(made.evidence):
    return [Cell(group, None) for group in size.groups]
  found = [Cell(group, size.extra) for group in size.groups]
  found += [Cell(size.group, extra) for extra in size.extras]
  return list(dict.fromkeys(found))


def measure_cell(
  arena: Arena, made: recipes.Recipe, assign: tables.Assign, cell: Cell, turns
) -> dict[str, Any]:
  """The metrics of one cell, and what it cost.

  `samples` counts trajectories and continuations, `steps` the turns played in
  both, of each prompt's group.
  """
  context = arena.context(cell.group, cell.extra or 0)
  columns = tables.chain_table(context, made.evidence, turns)
  wide = lambda x: tables.flat(x, turns)
  shape = (*context.played.live.shape[:2], -1)
  of_prompt = lambda x: x.reshape(shape)
  num_states, num_actions = context.truth.policy.shape[1:]
  place = columns["index"] * num_states + columns["state"]
  place = place * num_actions + columns["action"]
  rows = measure.Rows(
    credit=of_prompt(assign(columns)),
    exact=of_prompt(wide(contexts.advantage(context))),
    live=of_prompt(columns["weight"] > 0),
    state=of_prompt(columns["state"]),
    action=of_prompt(columns["action"]),
    place=of_prompt(place),
  )
  found = measure.measure(
    rows, context.truth.policy, context.truth.gradient, context.rng("bootstrap")
  )
  played = float(rows.live.sum() / np.prod(shape[:2]))
  drawn = cell.extra is not None
  return {
    "recipe": made.name,
    "world": arena.world.name,
    "group": cell.group,
    "extra": cell.extra,
    "samples": cell.group + (cell.extra or 0) * played * drawn,
    "steps": played + evidence.continued_steps(context) * drawn,
    "metrics": {
      name: {"value": v, "low": low, "high": high}
      for name, (v, low, high) in found.items()
    },
  }
