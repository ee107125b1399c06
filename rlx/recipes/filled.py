"""Who fills the columns that a recipe reads, known before any run."""

import dataclasses
from typing import Any

from rlx import batch, policy
from rlx.evidence import provider
from rlx.recipes import recipe as recipes

TASK, PLAN, LEARNT = "the task", "its plan", "its second learner"
# Fields of `Steps` that a task has a say in, and how.
_SAID = {
  "state": "the rollout, of info['state_key']",
  "next_state": "the rollout, of info['state_key']",
  "role": TASK,
  "value": "the value function",
}
_RECORDED = ("length", "truncated")


def by(recipe: recipes.Recipe) -> dict[str, str]:
  """Who fills each column that the recipe reads, as words for a reader.

  "the task" stands for `info["evidence"]` of an environment, or `log_extra` of
  a reward function.
  """
  learnt = {x for make in recipe.providers for x in make(_STATIC).columns}
  fields = {f.name for f in dataclasses.fields(batch.Steps)}

  def who(name: str) -> str:
    if name in recipe.plan.columns:
      return PLAN
    if name in learnt:
      return LEARNT
    if name == "bootstrap_value":
      return _SAID["value"]
    if name in _SAID:
      return _SAID[name]
    return "the rollout" if name in fields or name in _RECORDED else TASK

  return {name: who(name) for name in recipe.evidence}


def _never(*args: Any, **settings: Any) -> Any:
  raise NotImplementedError("asked what it fills, a provider ran its model")


# Names of columns depend on no model.
_STATIC = provider.Context(
  policy.Policy(
    **{name: _never for name in policy.Policy._fields if name != "vocab_size"},
    vocab_size=1,
  )
)
