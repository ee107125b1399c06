"""SALT: steps that winners and losers share become neutral."""

from typing import Literal

from rlx import credit, objective
from rlx.recipes import recipe


def salt(
  *,
  center: Literal["mean", "loo"] = "mean",
  scale: bool = True,
  history: int = 0,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """An outcome's advantage averaged over everyone who took the same transition.

      A_0 = standardise(R, by prompt)
      A = mean of A_0 over the rows of equal (prompt, state, action, next state)

  A prompt's trajectories are laid over each other as a graph. An edge that
  winners and losers took teaches nothing, one that only winners took keeps
  their advantage. A transition taken once is unchanged; without shared ones
  this is GRPO.

  Args:
    center: "mean" for GRPO's baseline, "loo" for RLOO's.
    scale: divide by the standard deviation of the group (with n - 1).
    history: how many transitions before must agree too; 0 is the published
      rule, more is our extension.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Li et al. 2025 (SALT), arXiv:2510.20022; the rule is as the appendix
  of a peer (GRAFT) gives it. [paper]
  """
  by = "std" if scale else None
  transition = ("state", "action", "next_state")
  key = ("prompt", *transition, *credit.steps_before(transition, history))
  return recipe.Recipe(
    name="salt",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", center=center, scale=by),
      credit.merge(by=key),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = merge(standardise(outcome, by=prompt, center={center},"
    f" scale={by}), by=prompt,state,action,next_state)",
    min_group=2,
    source="Li et al. 2025, arXiv:2510.20022",
    confidence="paper",
    departures=("history > 0 is an extension of ours",),
    evidence=("state", "action", "next_state"),
    verbs=("sample", "score"),
  )
