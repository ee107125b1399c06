"""Trees: prefixes that are continued several times, level after level."""

from collections.abc import Sequence

import numpy as np

from rlx.rollout import branching as branchings
from rlx.rollout import engine, plan
from rlx.rollout.plans import grow


def tree(
  branches: Sequence[int],
  *,
  segment_tokens: int | None = None,
  trees: int = 1,
  max_depth: int = 15,
  branching: branchings.Branching = branchings.Branching(),
) -> plan.Plan:
  """Trees in which each open node of level d has `branches[d]` children.

  A node is a step: some tokens of a completion, which on the last level goes on
  to its end, or a turn of an episode. An episode that
  is not over behind the last level goes on without branching. What ends early
  is a leaf where it ended. `grow.grow` tells the layout.

  Args:
    branches: b_1 to b_D. Those of level 1 are children of the prompt.
    segment_tokens: most of a completion's step, see `grow.grow`.
    trees: from each prompt. Rows of different trees are no siblings.
    max_depth: what the recipe's credit can fuse.
    branching: which open nodes go on, and which of them have more children than
      others: on each level there are as many as if all had `branches[d]`.

  Raises:
    ValueError: a number is not positive.
  """
  _check(branches=min(branches, default=0), trees=trees)
  if segment_tokens is not None:
    _check(segment_tokens=segment_tokens)

  def factors(shape: engine.Shape) -> list[int]:
    if shape.turns == 1:
      return list(branches)
    ones = [1] * (shape.turns - len(branches))
    return [*branches, *ones][: shape.turns]

  def allot(shape: engine.Shape, level: int, still: int, done: int):
    del done
    n = factors(shape)[level]
    return [n * trees] if level == 0 else [n] * still

  return grow.grow(
    lambda shape: (trees * np.cumprod(factors(shape))).tolist(),
    allot,
    segment_tokens=segment_tokens,
    trees=trees,
    max_depth=max_depth,
    branching=branching,
  )


def forks(fan_out: int, *, max_depth: int = 15) -> plan.Plan:
  """A tree of trajectories of each prompt, forked as early as they can.

  There are to be as many as the group has samples, n. On every level each open
  node has 1 to `fan_out` children, and all together have n less the number of
  trajectories that have ended, or as many as can be. A node is a turn of an
  episode. With a fan-out of 1 nothing would fork: these are n episodes, each a
  tree of its own. A completion is one step, and sampled n times.

  Proposing `fan_out` children of every node and keeping a part, whatever they
  say, is the same as drawing the part.

  Raises:
    ValueError: fan_out is not positive.
  """
  _check(fan_out=fan_out)

  def first(shape: engine.Shape) -> int:
    n = shape.num_samples
    return n if 1 in (fan_out, shape.turns) else min(n, fan_out)

  def allot(shape: engine.Shape, level: int, still: int, done: int):
    if level == 0:
      return [first(shape)]
    kept = min(still * fan_out, shape.num_samples - done)
    return [kept // still + (k < kept % still) for k in range(still)]

  return grow.grow(
    lambda shape: [
      min(shape.num_samples, first(shape) * fan_out**level)
      for level in range(shape.turns)
    ],
    allot,
    trees=None if fan_out == 1 else 1,
    max_depth=max_depth,
  )


def parse(branches: str) -> tuple[int, ...]:
  """Returns the numbers of "6,6,6".

  Raises:
    ValueError: it is not a list of positive numbers.
  """
  parts = branches.replace("-", ",").split(",")
  if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
    raise ValueError(
      f"branches={branches!r}: must be positive numbers with commas between, "
      "one for each level, as 6,6,6"
    )
  return tuple(int(part) for part in parts)


def _check(**numbers: int) -> None:
  for name, number in numbers.items():
    if number < 1:
      raise ValueError(f"{name}={number}: must be 1 or more")
