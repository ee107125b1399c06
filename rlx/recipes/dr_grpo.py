"""Dr. GRPO: GRPO without the biases of length and difficulty."""

from rlx import credit, objective
from rlx.recipes import recipe


def dr_grpo(
  *,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(
    reduction="seq-mean-token-sum-norm", reduction_length=1024
  ),
) -> recipe.Recipe:
  """An outcome minus the mean of its prompt, tokens divided by a constant.

      A_i = R_i - mean R,  loss = sum over tokens / (sequences * constant)

  GRPO divides by the spread, which favours prompts that are nearly solved or
  nearly hopeless, and by each answer's length, which favours long wrong ones.

  Args:
    clip: range of the ratio.
    terms: `reduction_length` is the constant: the longest answer allowed.

  Source: Liu et al. 2025, arXiv:2503.20783. [code]
  """
  return recipe.Recipe(
    name="dr_grpo",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", scale=None),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt, scale=none)",
    min_group=2,
    source="Liu et al. 2025, arXiv:2503.20783",
    confidence="code",
    departures=("sequences without a chosen token are not counted",),
  )
