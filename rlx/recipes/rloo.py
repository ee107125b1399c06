"""RLOO: the mean of the other samples as the baseline."""

from typing import Literal

from rlx import credit, objective
from rlx.recipes import recipe


def rloo(
  *,
  lone: Literal["zero", "raw"] = "zero",
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """An outcome minus the mean outcome of the prompt's other samples.

      A_i = R_i - mean of R_j over j != i = n / (n - 1) (R_i - mean R)

  Unlike GRPO's, this baseline does not depend on the sample it is subtracted
  from, so the gradient is unbiased.

  Args:
    lone: what the only sample of a prompt gets, 0 or its outcome.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740. [code]
  """
  return recipe.Recipe(
    name="rloo",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(
        by=("prompt",), vote="vote", center="loo", scale=None, lone=lone
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt, center=loo)",
    min_group=2,
    source="Ahmadian et al. 2024, arXiv:2402.14740",
    confidence="code",
    departures=("a lone sample gets 0; verl's is lone='raw'",),
  )
