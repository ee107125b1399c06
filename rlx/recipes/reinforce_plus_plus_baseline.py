"""REINFORCE++-baseline: group means first, then whitening over the batch."""

from rlx import credit, objective
from rlx.recipes import recipe


def reinforce_plus_plus_baseline(
  *,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """An outcome less its prompt's mean, standardised over the batch's tokens.

      A = whiten over tokens of (R_i - mean R)

  The group gives the baseline and the batch the scale, so that a prompt with
  little spread is not blown up, as it is by GRPO's division. Long answers count
  more in the batch's mean, which then is not 0, nor is what a sample without
  peers gets.

  Args:
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Hu 2025, arXiv:2501.03262. [code]
  """
  return recipe.Recipe(
    name="reinforce_plus_plus_baseline",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", scale=None),
      credit.whiten(),
    ),
    objective=objective.clipped(clip, terms),
    level="token",
    formula="A = whiten(standardise(outcome, by=prompt, scale=none))",
    min_group=2,
    source="Hu 2025, arXiv:2501.03262",
    confidence="code",
    departures=(
      "a lone sample enters the whitening as 0; verl's as its outcome",
      "terms.kl_coef is 0, theirs small, which takes a reference model",
    ),
  )
