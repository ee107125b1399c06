"""StepSearch: searches paid for what they add to the evidence, in PPO."""

from rlx import credit, objective, ranges
from rlx.credit import observed
from rlx.recipes import recipe


def stepsearch(
  *,
  step_scale: float = 0.6,
  discount: float = 1.0,
  lambda_: float = 1.0,
  whiten: bool = True,
  retrieved: bool = False,
  kl_in_reward: float = 0.0,
  clip: objective.Clip = objective.Clip(),
  value: objective.ValueTerm = objective.ValueTerm(clip=0.5),
  terms: objective.Terms = objective.Terms(entropy_coef=1e-3),
) -> recipe.Recipe:
  """PPO whose searches earn information gain less redundancy.

      r_t = step_scale (G_t - P_t)      on the last token of search t
      final = F1(answer) + 0.618 key    on the last token; -1 if malformed

  G and P are `evidence.retrieval.information_gain` and `redundancy`. An episode
  with an outcome of -1 is a malformed one, and earns nothing for its steps.
  Retrieved text is in no loss and in no statistic.

  Args:
    step_scale: of the rewards of searches.
    discount: per token that the policy chose.
    lambda_: 1 trusts the return, 0 the value function.
    whiten: standardise the advantages over all chosen tokens of the batch.
    retrieved: count retrieved tokens too in the mean and the deviation of that.
    kl_in_reward: penalty per token, which takes a reference model.
    clip: range of the ratio.
    value: loss of the value function.
    terms: what stands beside the surrogate, and the reduction.

  Source: Zheng et al. 2025 (StepSearch), arXiv:2505.15107. [code]
  """
  ranges.at_least(0, step_scale=step_scale, kl_in_reward=kl_in_reward)
  gain = credit.add(
    credit.at_step_end("information_gain"),
    credit.scale(credit.at_step_end("redundancy"), -1.0),
  )
  # The final reward of a malformed episode is -1, and of no other negative.
  well_formed = credit.chain(credit.outcome(), credit.above(-0.5))
  reward = credit.add(
    credit.rewards(),
    credit.scale(credit.multiply(gain, well_formed), step_scale),
  )
  advantage = credit.gae(discount, lambda_)
  white = credit.whiten()
  if retrieved:
    white = observed.whiten_with_observations()
  return recipe.Recipe(
    name="stepsearch",
    credit=credit.chain(reward, advantage, *[white] * whiten),
    objective=objective.clipped(clip, terms, value),
    level="token",
    formula=f"A = {'whiten of ' * whiten}gae({discount}, {lambda_}) of reward"
    f" + {step_scale} (information_gain - redundancy)",
    value_targets=credit.chain(
      reward, credit.lambda_returns(discount, lambda_)
    ),
    kl_in_reward=kl_in_reward,
    source="Zheng et al. 2025, arXiv:2505.15107",
    confidence="code",
    departures=(
      "the scale of steps is what it says; in their code .6 comes to 1.6, which"
      " step_scale=1.6 is",
      "advantages are whitened over chosen tokens; theirs is retrieved=True",
      "kl_in_reward is 0, theirs 1e-3, which takes a reference model",
    ),
    evidence=("information_gain", "redundancy", "value"),
    verbs=("sample", "score"),
  )
