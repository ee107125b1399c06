"""GRPO: samples of a prompt compared with each other."""

from typing import Literal

from rlx import credit, objective
from rlx.recipes import recipe


def grpo(
  *,
  scale: bool = True,
  lone: Literal["zero", "raw"] = "zero",
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """An outcome standardised within the samples of its prompt.

      A_i = (R_i - mean R) / (std R + 1e-6)

  The mean includes the sample itself, which shrinks the gradient by
  (n - 1) / n; `rloo` has the one without.

  Args:
    scale: divide by the standard deviation of the group (with n - 1).
    lone: what the only sample of a prompt gets, 0 or its outcome.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, Eq. 3 and 4. [code]
  """
  return recipe.Recipe(
    name="grpo",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(
        by=("prompt",),
        vote="vote",
        scale="std" if scale else None,
        lone=lone,
      ),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(outcome, by=prompt, scale={_name(scale)})",
    min_group=2,
    source="Shao et al. 2024, arXiv:2402.03300, Eq. 3 and 4",
    confidence="code",
    departures=(
      "terms.kl_coef is 0, theirs 0.04, which takes a reference model",
      "a lone sample gets 0; theirs is lone='raw'",
      "one vote per trajectory, whatever the number of its steps",
    ),
  )


def _name(scale: bool) -> str:
  return "std" if scale else "none"
