"""CISPO: the ratio as a bounded weight, so that no token loses its gradient."""

from rlx import credit, objective
from rlx.recipes import recipe


def cispo(
  *,
  clip: objective.Clip = objective.Clip(epsilon_low=1.0, epsilon_high=0.28),
  terms: objective.Terms = objective.Terms(reduction="token-mean"),
) -> recipe.Recipe:
  """GRPO's advantages under a policy gradient with clipped weights.

      A_i = (R_i - mean R) / (std R + 1e-6)
      loss = -sg(clip(rho, 1 - epsilon_low, 1 + epsilon_high)) A log pi

  PPO's clip drops the gradient of the tokens that moved most, which are the
  rare ones at which reasoning turns; here they stay, with a bounded weight.

  Args:
    clip: range of the weight. `epsilon_low` 1 is no lower bound.
    terms: what stands beside the surrogate, and the reduction.

  Source: MiniMax 2025 (MiniMax-M1), arXiv:2506.13585, Eq. 4 and 5. [code]
  """
  return recipe.Recipe(
    name="cispo",
    credit=credit.chain(
      credit.outcome(), credit.standardise(by=("prompt",), vote="vote")
    ),
    objective=objective.cispo(clip, terms),
    formula="A = standardise(outcome, by=prompt, scale=std),"
    f" -sg(min(rho, {1 + clip.epsilon_high:g})) A log pi",
    min_group=2,
    source="MiniMax 2025, arXiv:2506.13585, Eq. 4 and 5",
    confidence="code",
    departures=(
      "epsilon_high is 0.28, the paper tuned its own",
      "a lone sample gets 0; verl gives it its outcome",
    ),
  )
