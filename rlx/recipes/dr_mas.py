"""Dr. MAS: GRPO in which each agent is compared with itself."""

from rlx import credit, objective
from rlx.recipes import recipe


def dr_mas(
  *,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """An outcome standardised among the trajectories in which the agent acted.

      A = standardise(R, by prompt and role)

  Agents act in different trajectories, and then differ in their mean outcome
  and in its spread; a baseline over all of them fits none. With one role this
  is GRPO, and it is SHARP without its two bonuses.

  Args:
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Feng et al. 2026 (Dr. MAS), arXiv:2602.08847. [note]
  """
  by = "std" if scale else None
  return recipe.Recipe(
    name="dr_mas",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(
        by=("prompt", "role"),
        vote=credit.share("trajectory", "role"),
        scale=by,
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(outcome, by=prompt,role, scale={by})",
    min_group=2,
    source="Feng et al. 2026, arXiv:2602.08847",
    confidence="note",
    departures=("each trajectory in which an agent acted has one vote",),
    evidence=("role",),
  )
