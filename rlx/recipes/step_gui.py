"""Step-GUI: smooth scores of a step on a screen, a clip that still learns."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe
from rlx.rollout import plan
from rlx.rollout.plans import hinted


def step_gui(
  *,
  scale: bool = True,
  above: float = 0.5,
  below: float = 0.5,
  hints: bool = True,
  clip: objective.Clip = objective.Clip(epsilon_high=0.28),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """GRPO on smooth scores, with a gradient where a clip would have none.

      A = standardise(R, by prompt)

  A prompt is one step of a recorded trajectory, and R how near its action is:
  `evidence.pointing` for points and boxes, a match for types, a judge for text.
  Outside of the clip's range a token keeps a gradient of constant weight, so
  that rare right actions can still become likely. Groups that all fail are
  given hints, by the plan.

  Args:
    scale: divide by the standard deviation of the group (with n - 1).
    above: fraction of the gradient left where the clip would cut a ratio above
      the range.
    below: the same below the range.
    hints: sample groups that all fail once more, with the task's hint.
    clip: range of the ratio. The upper end is scheduled in the paper.
    terms: what stands beside the surrogate, and the reduction.

  Source: Step-GUI 2025, arXiv:2512.15431. [paper]
  """
  ranges.between(0, 1, above=above, below=below)
  by = "std" if scale else None
  return recipe.Recipe(
    name="step_gui",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", scale=by),
    ),
    objective=objective.gradient_preserving(
      clip, terms, above=above, below=below
    ),
    formula=f"A = standardise(outcome, by=prompt, scale={by});"
    " gradient-preserving clip",
    min_group=2,
    source="Step-GUI 2025, arXiv:2512.15431",
    confidence="paper",
    departures=(
      "clip.epsilon_high is constant; theirs follows a schedule",
      "above, below and epsilon_high are ours: theirs were not recovered",
      "a hint stands where the first answer begins; where theirs is unknown",
    ),
    plan=hinted.hinted() if hints else plan.sample(),
    verbs=("sample", "edit", "continue_from", "score"),
  )
