"""One published method per file: credit, objective and what it needs.

`ALL` has each method as a function whose keyword arguments are its
hyper-parameters; called without any it returns the published method.
"""

from collections.abc import Callable

from rlx.recipes.dr_grpo import dr_grpo
from rlx.recipes.gigpo import gigpo
from rlx.recipes.grpo import grpo
from rlx.recipes.ppo import ppo
from rlx.recipes.recipe import Recipe, describe, summary
from rlx.recipes.reinforce import reinforce
from rlx.recipes.reinforce_plus_plus import reinforce_plus_plus
from rlx.recipes.rloo import rloo

ALL: tuple[Callable[..., Recipe], ...] = (
  reinforce,
  rloo,
  grpo,
  dr_grpo,
  reinforce_plus_plus,
  ppo,
  gigpo,
)

__all__ = [
  "ALL",
  "Recipe",
  "describe",
  "dr_grpo",
  "gigpo",
  "grpo",
  "ppo",
  "reinforce",
  "reinforce_plus_plus",
  "rloo",
  "summary",
]
