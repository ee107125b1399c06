"""SAPO: a soft gate on the ratio in the place of a clip."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def sapo(
  *,
  temperature_positive: float = 1.0,
  temperature_negative: float = 1.05,
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO's advantages under a sigmoid of the ratio.

      A_i = (R_i - mean R) / (std R + 1e-6)
      loss = -(4 / tau) sigmoid(tau (rho - 1)) A

  The gradient is the policy gradient's at rho = 1 and fades on both sides of
  it, sooner for negative advantages, which raise every token not sampled.

  Args:
    temperature_positive: tau where A > 0.
    temperature_negative: tau elsewhere.
    terms: what stands beside the surrogate, and the reduction.

  Source: Gao et al. 2025, arXiv:2511.20347. [code]
  """
  ranges.above(0, temperature_positive=temperature_positive)
  ranges.above(0, temperature_negative=temperature_negative)
  return recipe.Recipe(
    name="sapo",
    credit=credit.chain(
      credit.outcome(), credit.standardise(by=("prompt",), vote="vote")
    ),
    objective=objective.sapo(
      terms,
      temperature_positive=temperature_positive,
      temperature_negative=temperature_negative,
    ),
    formula="A = standardise(outcome, by=prompt, scale=std), soft gate"
    f" ({temperature_positive:g}, {temperature_negative:g})",
    min_group=2,
    source="Gao et al. 2025, arXiv:2511.20347",
    confidence="code",
    departures=("a lone sample gets 0; verl gives it its outcome",),
  )
