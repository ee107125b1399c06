"""VERL: a bonus for responses whose hidden states keep exploring."""

import functools
from typing import Literal

from rlx import credit, objective, ranges
from rlx.evidence import effective_rank
from rlx.recipes import recipe


def verl(
  *,
  kappa: float = 2.0,
  placement: Literal["broadcast", "last"] = "broadcast",
  scale: bool = True,
  stride: int = 40,
  window: int = 512,
  decay: float = 0.3,
  gain: float = 2.0,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO with a bonus, read from the effective rank of the hidden states.

      A = A_0 + min(max(Phi, 0), |A_0| / kappa)

  Phi compares rank, velocity and acceleration of the response with what they
  were in earlier batches, see `evidence.effective_rank`. The bonus never flips
  a sign for kappa >= 1, and where A_0 is 0 there is none.

  Args:
    kappa: the bonus is at most |A_0| / kappa.
    placement: of the bonus: on every token, or on the response's last.
    scale: divide A_0 by the standard deviation of the prompt.
    stride: tokens between two looks at the rank.
    window: most tokens of a response looked at.
    decay: weight of a new batch in the baselines.
    gain: steepness of the choice between velocity and rank; 1.5 in the code.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Huang et al. 2025 (VERL), arXiv:2509.23808. [code]
  """
  ranges.at_least(1, stride=stride)
  ranges.above(stride, window=window)
  ranges.between(0, 1, decay=decay)
  ranges.at_least(0, gain=gain)
  by = "std" if scale else None
  return recipe.Recipe(
    name="verl",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", scale=by),
      credit.bonus("exploration", kappa, last=placement == "last"),
    ),
    objective=objective.clipped(clip, terms),
    level="token" if placement == "last" else "turn",
    formula="A = standardise(outcome, by=prompt)"
    f" + min(relu(exploration), |A| / {kappa}) [{placement}]",
    min_group=2,
    source="Huang et al. 2025, arXiv:2509.23808",
    confidence="code",
    departures=(
      "the bonus is on every token; in the code placement='last'",
      "hidden states are the last layer's, and their mean is subtracted",
      "terms.kl_coef and terms.entropy_coef are 0, theirs 0.001",
    ),
    evidence=("exploration",),
    providers=(
      functools.partial(
        effective_rank.effective_rank,
        stride=stride,
        window=window,
        decay=decay,
        gain=gain,
      ),
    ),
    verbs=("sample", "score"),
  )
