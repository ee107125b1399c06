"""ERL: PPO for search agents that erase a bad step and write it anew."""

from rlx import credit, objective, ranges
from rlx.recipes import recipe
from rlx.rollout.plans import erasing


def erl(
  *,
  erasures: int = 2,
  alpha: float = 0.0,
  beta: float = 0.0,
  discount: float = 1.0,
  lambda_: float = 1.0,
  whiten: bool = True,
  kl_in_reward: float = 0.0,
  clip: objective.Clip = objective.Clip(),
  value: objective.ValueTerm = objective.ValueTerm(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """PPO whose searches and sub-answers are paid, without what was erased.

      R_search_t = G_t - P_t                       at the end of a search
      R_sub_t = sum_j max(u_tj - u_{t-1,j}, 0) / m  at the end of a sub-answer
      R_ans = EM / 2 + F1 / 2                      at the end of the answer

  A step is erased where R_sub or R_search is at most alpha, everything where
  that of the first search is at most beta; see `evidence.retrieval.erasure`.
  The rest is written anew from before it.

  Args:
    erasures: of one trajectory at the most. Ours: theirs was not recovered.
    alpha: a gain up to it is none.
    beta: the same of the first search.
    discount: per token that the policy chose.
    lambda_: 1 trusts the return, 0 the value function.
    whiten: standardise the advantages over all chosen tokens of the batch.
    kl_in_reward: penalty per token, which takes a reference model.
    clip: range of the ratio.
    value: loss of the value function.
    terms: what stands beside the surrogate, and the reduction.

  Source: ERL 2025, arXiv:2510.00861. That a bad sub-answer takes its whole step
  with it, and the whitening, are inferred; the thresholds are ours. [note]
  """
  ranges.at_least(0, erasures=erasures, kl_in_reward=kl_in_reward)
  ranges.finite(alpha=alpha, beta=beta)
  reward = credit.add(
    credit.rewards(),
    credit.at_step_end("information_gain"),
    credit.scale(credit.at_step_end("redundancy"), -1.0),
    credit.at_step_end("sub_answer_gain"),
  )
  advantage = credit.gae(discount, lambda_)
  return recipe.Recipe(
    name="erl",
    credit=credit.chain(reward, advantage, *[credit.whiten()] * whiten),
    objective=objective.clipped(clip, terms, value),
    level="token",
    formula=f"A = {'whiten of ' * whiten}gae({discount}, {lambda_}) of reward"
    " + information_gain - redundancy + sub_answer_gain",
    value_targets=credit.chain(
      reward, credit.lambda_returns(discount, lambda_)
    ),
    kl_in_reward=kl_in_reward,
    source="ERL 2025, arXiv:2510.00861",
    confidence="note",
    departures=(
      "erasures, alpha and beta are ours",
      "a bad sub-answer takes its whole step with it (inferred)",
      "whitening is inferred; whiten=False does not",
    ),
    evidence=("information_gain", "redundancy", "sub_answer_gain", "value"),
    plan=erasing.erasing(erasures=erasures, alpha=alpha, beta=beta),
    verbs=("sample", "edit", "continue_from", "score"),
  )
