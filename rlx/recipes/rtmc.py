"""RTMC: what an action was worth minus what its state was worth, by counting."""

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

  Source: RTMC, as a secondary note gives it. [note]
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
    source="RTMC",
    confidence="note",
    evidence=("state", "action"),
    verbs=("sample", "score"),
  )
