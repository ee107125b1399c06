"""RTMC: what an action was worth less what its state was worth, by counting."""

from rlx import credit, objective
from rlx.recipes import recipe


def rtmc(
  *,
  discount: float = 1.0,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """Q - V from the returns that a prompt's trajectories happened to get.

      A = mean returns by (prompt, state, action)
        - mean returns by (prompt, state)

  Averaging over equal actions takes out the noise of what came later. A state
  in which one action only was taken teaches nothing.

  Args:
    discount: per step.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Wang et al. 2026 (RTMC), arXiv:2604.11037, by secondary notes. [note]
  """
  returns = credit.returns(discount)
  q = credit.merge(by=("prompt", "state", "action"))
  v = credit.merge(by=("prompt", "state"))
  return recipe.Recipe(
    name="rtmc",
    credit=credit.chain(returns, credit.add(q, credit.scale(v, -1.0))),
    objective=objective.clipped(clip, terms),
    formula=f"A = merge(returns({discount}), by=prompt,state,action)"
    f" - merge(returns({discount}), by=prompt,state)",
    min_group=2,
    source="Wang et al. 2026, arXiv:2604.11037",
    confidence="note",
    departures=(
      "every visit of a state counts; theirs, it is said, counts the first of"
      " each trajectory and draws Q to a prior where visits are few",
    ),
    evidence=("state", "action"),
    verbs=("sample", "score"),
  )
