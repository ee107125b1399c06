"""PPO: generalised advantages of a learned value function, per token."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe


def ppo(
  *,
  discount: float = 1.0,
  lambda_: float = 1.0,
  whiten: bool = True,
  kl_in_reward: float = 0.0,
  clip: objective.Clip = objective.Clip(),
  value: objective.ValueTerm = objective.ValueTerm(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """What a token earned beyond what the value function expected.

      delta_t = r_t + discount V_{t+1} - V_t
      A_t = delta_t + discount lambda A_{t+1},  returns = A + V before whitening

  Observations are passed over: V_{t+1} and A_{t+1} are those of the next token
  that the policy chose.

  Args:
    discount: per token that the policy chose.
    lambda_: 1 trusts the return, 0 the value function.
    whiten: standardise the advantages over all tokens of the batch.
    kl_in_reward: penalty per token, which takes a reference model.
    clip: range of the ratio.
    value: loss of the value function.
    terms: what stands beside the surrogate, and the reduction.

  Source: Schulman et al. 2017, arXiv:1707.06347, Eq. 7; advantages of
  arXiv:1506.02438, Eq. 16. [code]
  """
  ranges.at_least(0, kl_in_reward=kl_in_reward)
  advantage = credit.gae(discount, lambda_)
  return recipe.Recipe(
    name="ppo",
    credit=credit.chain(advantage, *[credit.whiten()] * whiten),
    objective=objective.clipped(clip, terms, value),
    level="token",
    formula="A = " + "whiten of " * whiten + f"gae({discount}, {lambda_})",
    value_targets=credit.lambda_returns(discount, lambda_),
    kl_in_reward=kl_in_reward,
    source="Schulman et al. 2017, arXiv:1707.06347, Eq. 7",
    confidence="code",
    departures=("kl_in_reward is 0 unless given",),
    evidence=("value",),
    verbs=("sample", "score"),
  )
