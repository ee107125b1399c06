"""FedMOA: objectives weighted by how much each helps the first one."""

import functools

from rlx import credit, objective, ranges
from rlx.evidence import alignment
from rlx.recipes import recipe


def fedmoa(
  *,
  objectives: str = "main,auxiliary",
  weight_learning_rate: float = 0.5,
  floor: float = 0.01,
  leaves: str = "",
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO of several objectives, whose weights follow a hypergradient.

      A = sum over k of w_k standardise(objective k, by prompt)
      w <- softmax(log w + weight_learning_rate * align)
      align_k = cos(gradient of the first now, gradient of k before)

  Objectives that no longer help the first one lose their weight. For clients
  that learn apart see `rlx.federated`.

  Args:
    objectives: their names, separated by commas, the main one first. The task
      fills the column "objective/NAME" of each.
    weight_learning_rate: of the mirror step.
    floor: least weight of an objective.
    leaves: compare the gradients only of parameters whose path starts so.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: FedMOA 2026, arXiv:2602.00453. INFERRED from the abstract. [abstract]
  """
  ranges.at_least(0, weight_learning_rate=weight_learning_rate)
  ranges.between(0, 1, floor=floor)
  names = tuple(name.strip() for name in objectives.split(","))
  if not all(names) or len(set(names)) < len(names):
    raise ValueError(f"objectives={objectives!r}: names must differ, as in a,b")
  weighted = [
    credit.multiply(
      credit.evidence(f"weight/{name}"), alignment.standardised(name)
    )
    for name in names
  ]
  weigher = functools.partial(
    alignment.alignment,
    objectives=names,
    learning_rate=weight_learning_rate,
    floor=floor,
    leaves=leaves,
  )
  return recipe.Recipe(
    name="fedmoa",
    credit=credit.add(*weighted),
    objective=objective.clipped(clip, terms),
    formula="A = "
    + " + ".join(f"w_{n} standardise({n}, by=prompt)" for n in names),
    min_group=2,
    source="FedMOA 2026, arXiv:2602.00453",
    confidence="abstract",
    departures=(
      "formulas are inferred; alignments are cosines, and weights have a floor",
    ),
    evidence=tuple(
      f"{kind}/{name}" for kind in ("objective", "weight") for name in names
    ),
    providers=(weigher,),
  )
