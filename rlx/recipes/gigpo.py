"""GiGPO: steps compared with other steps taken from the same state."""

from typing import Literal

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def gigpo(
  *,
  discount: float = 0.95,
  step_weight: float = 1.0,
  scale: bool = True,
  vote: Literal["trajectory", "step"] = "trajectory",
  lone: Literal["zero", "raw"] = "zero",
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """GRPO twice: between episodes, and between actions from one state.

      A = standardise(R, by prompt)
        + step_weight * standardise(returns, by prompt and state)

  A state that was met once teaches nothing of its own: what is left is GRPO.
  States are keys of canonical observations, without step counters.

  Args:
    discount: per step.
    step_weight: of the comparison between steps; 0 gives GRPO.
    scale: divide both by the standard deviation of their group. The official
      scripts do for ALFWorld and search, and do not for WebShop, Sokoban,
      NumberLine, EZPoints and Blackjack.
    vote: whether each trajectory or each step counts once among episodes.
    lone: what the only trajectory of a prompt gets, 0 or its outcome.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Feng et al. 2025, arXiv:2505.10978. [code]
  """
  ranges.at_least(0, step_weight=step_weight)
  by = "std" if scale else None
  episode = credit.standardise(
    by=("prompt",),
    vote="vote" if vote == "trajectory" else None,
    scale=by,
    lone=lone,
  )
  step = credit.standardise(by=("prompt", "state"), scale=by)
  return recipe.Recipe(
    name="gigpo",
    credit=credit.add(
      credit.chain(credit.outcome(), episode),
      credit.scale(credit.chain(credit.returns(discount), step), step_weight),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = standardise(outcome, by=prompt)"
    f" + {step_weight} standardise(returns({discount}), by=prompt,state)",
    min_group=2,
    source="Feng et al. 2025, arXiv:2505.10978",
    confidence="code",
    departures=(
      "one vote per trajectory; theirs is vote='step'",
      "a lone episode gets 0; theirs is lone='raw'",
      "terms.kl_coef is 0, theirs 0.01, which takes a reference model",
      "states are equal or not; theirs can also merge similar ones",
      "the penalty of 0.1 on invalid actions belongs to the environment",
    ),
    evidence=("state",),
    verbs=("sample", "score"),
  )
