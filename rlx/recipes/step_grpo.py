"""Step-GRPO (R1-Router): each step of the solution is a GRPO problem."""

from rlx import credit, objective
from rlx.recipes import recipe


def step_grpo(
  *,
  scale: bool = True,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """A step's own reward standardised among the same steps of its prompt.

      A[t] = (r[t] - mean r) / (std r + 1e-6)   over rows of one prompt and t

  It is for steps that all start from the gold steps before them, so that their
  prompts are equal and their number is given; a prompt may also be one step.
  Where the policy decides how many steps there are, a comparison by index
  cannot see that decision. `evidence.routing` scores a step.

  Args:
    scale: divide by the standard deviation of the group (with n - 1).
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: R1-Router 2025, arXiv:2505.22095. [code]
  """
  by = "std" if scale else None
  return recipe.Recipe(
    name="step_grpo",
    credit=credit.chain(
      credit.rewards(), credit.standardise(by=("prompt", "index"), scale=by)
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(reward, by=prompt,index, scale={by})",
    min_group=2,
    source="R1-Router 2025, arXiv:2505.22095",
    confidence="code",
    departures=(
      "terms.kl_coef is 0; GRPO's default has 0.04, which takes a reference",
    ),
  )
