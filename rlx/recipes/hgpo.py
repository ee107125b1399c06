"""HGPO: GiGPO's step groups for every length of the history that is matched."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def hgpo(
  *,
  discount: float = 0.95,
  history: int = 2,
  power: float = 1.0,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """Returns compared between steps of one state, the more so of one history.

      A_k = standardise(returns, by prompt and the last k states), k = 1..K + 1
      A = sum_k w_k A_k / sum_k w_k,   w_k = (k + 1)^power where A_k is not 0

  A state alone does not say what the policy remembers. A longer match compares
  more alike contexts, but finds fewer of them; the weights take both. Only rows
  with k - 1 steps before them have an A_k, and a row that no group tells
  anything gets 0: unlike GiGPO there is no comparison of outcomes to fall back
  on.

  Args:
    discount: per step.
    history: K, the steps before that the longest match looks at.
    power: how much more a longer match weighs; 0 weighs all alike.
    scale: divide by the standard deviation of the group (with n).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: He et al. 2026 (HGPO), arXiv:2602.22817. [code]
  """
  ranges.at_least(0, history=history, power=power)
  return recipe.Recipe(
    name="hgpo",
    credit=credit.chain(
      credit.returns(discount),
      credit.over_histories(
        ("prompt",), "state", history=history, power=power, scale=scale
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = sum_k w_k standardise(returns({discount}), by=prompt,"
    f"state[t-k+1..t], ddof=0) / sum_k w_k, k = 1..{history + 1},"
    f" w_k = (k + 1)^{power}",
    min_group=2,
    source="He et al. 2026, arXiv:2602.22817",
    confidence="code",
    departures=(
      "an A_k counts as 0 below 1e-6; theirs at 0 exactly",
      "terms.kl_coef is 0; GiGPO's scripts have 0.01, which takes a reference",
    ),
    evidence=("state",),
    verbs=("sample", "score"),
  )
