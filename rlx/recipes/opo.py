"""OPO: the baseline of least variance, a mean weighted by length."""

from rlx import batch, credit, objective
from rlx.recipes import recipe


def opo(
  *,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """An outcome less the mean of its prompt in which each token has a vote.

      A_i = R_i - sum of length_j R_j / sum of length_j

  The variance is least for the mean weighted by the squared norm of each
  answer's score, which grows as its length where tokens are independent. Made
  for exactly on-policy updates, where the clip never acts.

  Args:
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Hao et al. 2025, arXiv:2505.23585. [code]
  """
  return recipe.Recipe(
    name="opo",
    credit=credit.chain(
      credit.outcome(),
      # These votes count tokens, not samples: centred, and nothing more.
      credit.standardise(by=("prompt",), vote=_tokens, scale=None),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt, vote=length, scale=none)",
    min_group=2,
    source="Hao et al. 2025, arXiv:2505.23585",
    confidence="code",
    departures=(
      "length counts the tokens that the policy chose, in all turns together",
      "a lone sample gets 0; verl gives it its outcome",
    ),
    evidence=("length",),
  )


def _tokens(steps: batch.Steps):
  """Votes of a trajectory, shared by its rows: one for each of its tokens."""
  return steps.vote * credit.column(steps, "length")
