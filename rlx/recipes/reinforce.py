"""REINFORCE: the policy gradient with the return from each step."""

from rlx import credit, objective
from rlx.recipes import recipe


def reinforce(
  *,
  discount: float = 1.0,
  baseline: bool = False,
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """Raises the probability of each step by what was earned from it on.

      A_t = r_t + discount A_{t+1},  loss = -A log pi

  Args:
    discount: per step.
    baseline: subtract the mean of the whole batch, over steps.
    terms: what stands beside the policy gradient, and the reduction.

  Source: Williams 1992 (Machine Learning 8), Theorem 1. [known]
  """
  links = [credit.returns(discount)]
  if baseline:
    links.append(credit.standardise(scale=None))
  return recipe.Recipe(
    name="reinforce",
    credit=credit.chain(*links),
    objective=objective.reinforce(terms),
    formula=f"A = returns({discount})" + " - mean(batch)" * baseline,
    source="Williams 1992",
  )
