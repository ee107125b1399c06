"""Recipe: a published method as data, credit and objective put together."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import Array, Bool, Float

from rlx import batch
from rlx.credit import estimator
from rlx.evidence import provider
from rlx.objective import objective as objectives
from rlx.rollout import plan as plans
from rlx.rollout import verbs as rollout_verbs

# (rollout, steps, advantages[B L]) -> bool[B L]: the tokens learnt from.
Keep = Callable[
  [batch.Rollout, batch.Steps, Float[Array, "B L"]], Bool[Array, "B L"]
]


@dataclasses.dataclass(frozen=True)
class Recipe:
  """One method.

  Attributes:
    name: as on the command line.
    credit: turns the rewards of the step table into advantages.
    objective: turns advantages into a loss.
    level: what a row of the step table is. "turn" is what the environment made
      of the episode; "token" has a row per token, `credit.token_table`.
    formula: the composition, in words that name the parts.
    min_group: fewest samples of a prompt from which the method can learn.
    value_targets: estimates what the value function is fitted to; None for
      methods without one.
    kl_in_reward: penalty per token against the reference, at level "token".
    source: authors, year, arXiv id, equations.
    confidence: what the formula was checked against, see `CONFIDENCE`.
    departures: where it differs from the paper or its code, and how to get
      theirs.
    evidence: columns of the step table that it reads beyond reward and outcome:
      fields of `Steps`, or extras that the task fills unless `providers` or
      `plan` do.
    providers: second learners and other readers of the batch, which fill
      columns on the device.
    plan: how a batch is collected.
    keep: which of the chosen tokens are learnt from; None for all. It narrows
      the mask, so that the others are in no denominator.
    filter_groups: leave out groups of equal outcomes and sample others, as
      `rollout.filter_groups` does.
    verbs: what it asks of the rollout engine.
  """

  name: str
  credit: estimator.Estimator
  objective: objectives.Objective
  level: Literal["turn", "token"] = "turn"
  formula: str = ""
  min_group: int = 1
  value_targets: estimator.Estimator | None = None
  kl_in_reward: float = 0.0
  source: str = ""
  confidence: Literal["code", "paper", "note", "abstract", "known"] = "known"
  departures: tuple[str, ...] = ()
  evidence: tuple[str, ...] = ()
  providers: tuple[provider.Factory, ...] = ()
  plan: plans.Plan = plans.sample()
  keep: Keep | None = None
  filter_groups: bool = False
  verbs: tuple[rollout_verbs.Name, ...] = ("sample",)

  @property
  def needs_value(self) -> bool:
    """Whether a value function is trained beside the policy."""
    return self.value_targets is not None

  @property
  def needs_reference(self) -> bool:
    """Whether log-probabilities of the frozen reference are needed."""
    return self.objective.needs_reference or self.kl_in_reward != 0

  @property
  def bootstraps(self) -> bool:
    """Whether what was truncated ends with the value of where it was cut."""
    return "bootstrap_value" in self.evidence

  def plan_extras(self) -> tuple[str, ...]:
    """Returns the columns of the plan that are no fields of `Steps`."""
    fields = {f.name for f in dataclasses.fields(batch.Steps)}
    return tuple(x for x in self.plan.columns if x not in fields)


CONFIDENCE = {
  "code": "official code read and executed on the worked examples",
  "paper": "text of the paper read",
  "note": "a detailed secondary source that reproduces the equations",
  "abstract": "only the abstract was available: the formula is our inference",
  "known": "textbook, or published widely",
}


def summary(recipe: Recipe) -> dict[str, Any]:
  """What there is to know about a recipe, as JSON values."""
  return {
    "name": recipe.name,
    "formula": recipe.formula,
    "level": recipe.level,
    "min_group": recipe.min_group,
    "needs_value": recipe.needs_value,
    "needs_reference": recipe.needs_reference,
    "evidence": list(recipe.evidence),
    "verbs": list(recipe.verbs),
    "source": recipe.source,
    "confidence": recipe.confidence,
    "departures": list(recipe.departures),
  }


def describe(recipe: Recipe) -> str:
  """A paragraph for a reader: composition, needs, source and departures."""
  needs = [f"groups of {recipe.min_group} or more"] * (recipe.min_group > 1)
  needs += ["a value function"] * recipe.needs_value
  needs += ["a reference"] * recipe.needs_reference
  needs += [f"the column {name!r}" for name in recipe.evidence]
  lines = [
    recipe.name,
    f"  {recipe.formula}",
    f"  a step is a {recipe.level}; needs {', '.join(needs) or 'nothing more'}",
    f"  {recipe.source} [{recipe.confidence}: {CONFIDENCE[recipe.confidence]}]",
    *(f"  departs: {departure}" for departure in recipe.departures),
  ]
  return "\n".join(lines)
