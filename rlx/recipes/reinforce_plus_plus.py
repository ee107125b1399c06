"""REINFORCE++: returns per token, whitened over the whole batch."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def reinforce_plus_plus(
  *,
  discount: float = 1.0,
  kl_in_reward: float = 0.0,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """The return from each token, standardised over all tokens of the batch.

      r_t = reward on a step's last token - kl_in_reward (log pi - log ref)_t
      A = whiten(r_t + discount r_{t+1} + ...)

  No peers are needed: the baseline is the batch.

  Args:
    discount: per token that the policy chose; observations cost none.
    kl_in_reward: penalty per token, which takes a reference model.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Hu 2025, arXiv:2501.03262. [code]
  """
  ranges.at_least(0, kl_in_reward=kl_in_reward)
  return recipe.Recipe(
    name="reinforce_plus_plus",
    credit=credit.chain(credit.returns(discount), credit.whiten()),
    objective=objective.clipped(clip, terms),
    level="token",
    formula=f"A = whiten(returns({discount})), rewards less {kl_in_reward} k1",
    kl_in_reward=kl_in_reward,
    source="Hu 2025, arXiv:2501.03262",
    confidence="code",
    departures=(
      "statistics over tokens that the policy chose, in any turn; verl's"
      " returns start anew behind an observation",
      "kl_in_reward is 0 unless given",
    ),
  )
