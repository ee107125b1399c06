"""SELF-GRPO: an overlap of label sets, and agreement with the group."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def self_grpo(
  *,
  agreement: float = 0.5,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO on the outcome plus how far a sample agrees with its group.

      A = standardise(R + agreement * consistency, by prompt)

  R is to be the smoothed overlap of predicted with gold labels; `evidence.
  overlap` has both formulas. The consistency is a column, read on a
  trajectory's last row; the reward function that sees the group fills it.

  Args:
    agreement: weight of the consistency; 0 gives GRPO. The default is ours.
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: SELF-EMO 2026, arXiv:2604.18003. Both formulas are inferred from the
  abstract. [abstract]
  """
  ranges.at_least(0, agreement=agreement)
  by = "std" if scale else None
  consistency = credit.chain(credit.evidence("consistency"), credit.final())
  return recipe.Recipe(
    name="self_grpo",
    credit=credit.chain(
      credit.add(credit.outcome(), credit.scale(consistency, agreement)),
      credit.standardise(by=("prompt",), vote="vote", scale=by),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(outcome + {agreement} final(consistency),"
    f" by=prompt, scale={by})",
    min_group=2,
    source="SELF-EMO 2026, arXiv:2604.18003",
    confidence="abstract",
    departures=(
      "formulas are inferred and the weight of the agreement is ours",
      "the self-play that makes data is not part of it",
    ),
    evidence=("consistency",),
  )
