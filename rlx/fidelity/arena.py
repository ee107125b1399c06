"""What is drawn from a set of worlds: the same for every recipe."""

import functools
from typing import NamedTuple

import numpy as np

from rlx.fidelity import context as contexts
from rlx.fidelity import evidence, exact, measure, sample, tables, trees
from rlx.fidelity import world as world_types
from rlx.recipes import recipe as recipes

EXACT = "exact"  # A column with the exact advantage of each step.


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


class Cell(NamedTuple):
  """A budget: members of a group, and continuations at each boundary."""

  group: int
  extra: int | None  # None where the recipe draws no continuations.


class Judged(NamedTuple):
  """Steps with a recipe's credit, and what they cost a prompt.

  Attributes:
    rows: to be measured.
    samples: trajectories, references', continuations and edges of trees.
    steps: turns played in all of them.
  """

  rows: measure.Rows
  samples: float
  steps: float


class Arena:
  """A set of worlds, solved, with batches of groups and trees."""

  def __init__(
    self, world: world_types.Worlds, size: Size, seed: int, turns: int
  ):
    self.world = world
    self.truth = exact.solve(world)
    self._size = size
    self._seed = (seed, *world.name.encode())
    self._turns = turns
    self._largest = max(*size.groups, size.group)
    rng = np.random.default_rng(self._seed)
    self._played = sample.chains(
      world, self.truth, size.num_batches, self._largest, rng
    )
    self.trees = functools.cache(self._trees)
    self.column = functools.cache(self._column)

  def judge(
    self, made: recipes.Recipe, assign: tables.Assign, cell: Cell
  ) -> Judged:
    """The recipe's credit of this arena's batches at this budget."""
    if is_tree(made):
      return self._judge_trees(made, assign, cell)
    return self._judge_chains(made, assign, cell)

  def columns(self, made: recipes.Recipe, cell: Cell) -> tables.Columns:
    """The step tables that the recipe is given."""
    if is_tree(made):
      return self.trees(cell.group).columns
    names = evidence.filled(made.evidence)
    given = {name: self.column(cell, name) for name in names}
    return tables.chain_table(self._first(cell.group), given, self._turns)

  def _column(self, cell: Cell, name: str) -> np.ndarray:
    return evidence.column(self.context(cell), name)

  def _first(self, group: int) -> sample.Chains:
    return sample.first(self._played, group)

  def context(self, cell: Cell) -> contexts.Context:
    seed = (*self._seed, cell.group, cell.extra or 0)
    played = self._first(cell.group)
    return contexts.Context(
      self.world, self.truth, played, cell.extra or 0, seed
    )

  def _trees(self, num_leaves: int) -> trees.Trees:
    rng = np.random.default_rng((*self._seed, num_leaves))
    batches = self._size.num_batches
    grown = trees.grow(self.world, self.truth, batches, num_leaves, rng)
    rows = max(trees.num_nodes(n) for n in self._size.groups)
    return trees.tree_table(self.truth, grown, rows)

  def _judge_chains(self, made, assign, cell) -> Judged:
    context = self.context(cell)
    columns = self.columns(made, cell)
    flat = lambda x: tables.flat(x, self._turns)
    rows = self._rows(
      credit=assign(columns),
      exact=flat(contexts.advantage(context)),
      live=columns["weight"] > 0,
      turn=columns["index"],
      state=columns["state"],
      action=columns["action"],
    )
    steps = float(rows.live.sum() / np.prod(rows.live.shape[:2]))
    samples = float(cell.group)
    if cell.extra:
      samples += cell.extra * steps
      steps += evidence.continued_steps(context)
    references = evidence.num_references(made)
    samples += references
    steps += references * evidence.mean_steps(context)
    return Judged(rows, samples, steps)

  def _judge_trees(self, made, assign, cell) -> Judged:
    grown = self.trees(cell.group)
    prompt = np.arange(len(self.world.start))[:, None, None]
    left = self.world.horizon - np.where(grown.live, grown.turn, 0)
    exact = self.truth.advantages[prompt, left, grown.state, grown.action]
    if EXACT in made.evidence:
      credit = exact
    else:
      of_nodes = assign(grown.columns).reshape(*grown.live.shape[:3], 1)
      credit = np.broadcast_to(of_nodes, grown.live.shape)
    rows = self._rows(
      credit=credit,
      exact=exact,
      live=grown.live,
      turn=grown.turn,
      state=grown.state,
      action=grown.action,
    )
    groups = np.prod(grown.live.shape[:2])
    samples = float(grown.live.any(-1).sum() / groups)
    return Judged(rows, samples, float(grown.live.sum() / groups))

  def _rows(self, turn: np.ndarray, **columns: np.ndarray) -> measure.Rows:
    """Rows of each batch and prompt, with places numbered."""
    num_states, num_actions = self.truth.policy.shape[1:]
    place = turn * num_states + columns["state"]
    place = place * num_actions + columns["action"]
    shape = (len(turn), len(self.world.start), -1)
    columns = {k: x.reshape(shape) for k, x in columns.items()}
    return measure.Rows(place=place.reshape(shape), **columns)


def is_tree(made: recipes.Recipe) -> bool:
  """Whether the recipe's rows are the nodes of trees."""
  return bool({*made.evidence} & {"parent", "tree"})


def cells(made: recipes.Recipe, size: Size) -> list[Cell]:
  """The budgets at which a recipe is measured."""
  if is_tree(made) or not evidence.continues(made):
    return [Cell(group, None) for group in size.groups]
  found = [Cell(group, size.extra) for group in size.groups]
  found += [Cell(size.group, extra) for extra in size.extras]
  return list(dict.fromkeys(found))
