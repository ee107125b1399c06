"""SPA-RL: progress that a regressor attributes to each step, in PPO."""

import functools

import jax.numpy as jnp

from rlx import credit, objective, ranges
from rlx.evidence import progress
from rlx.recipes import recipe


def spa_rl(
  *,
  progress_weight: float = 1.0,
  grounded_weight: float = 0.5,
  discount: float = 1.0,
  lambda_: float = 1.0,
  whiten: bool = True,
  regressor_learning_rate: float = 1e-2,
  regressor_updates: int = 4,
  frozen_after: int | None = None,
  last_grounded: bool = False,
  clip: objective.Clip = objective.Clip(),
  value: objective.ValueTerm = objective.ValueTerm(),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """PPO whose steps are paid what they contributed to the outcome.

      r_t = progress_weight c_t + grounded_weight g_t,  on step t's last token
      c_t = w . h_t + b  with  (sum_t c_t - R)^2 -> min

  g_t is 1 where the action could be executed. The outcome itself is not paid:
  the contributions sum to it.

  Args:
    progress_weight: alpha, of the regressor's contribution.
    grounded_weight: beta, of actions that could be executed.
    discount: per token that the policy chose.
    lambda_: 1 trusts the return, 0 the value function.
    whiten: standardise the advantages over all tokens of the batch.
    regressor_learning_rate: of the regressor.
    regressor_updates: steps of the regressor on each batch.
    frozen_after: batches that the regressor learns from; None for all.
    last_grounded: pay a trajectory's last step for being grounded in any case.
    clip: range of the ratio.
    value: loss of the value function.
    terms: what stands beside the surrogate, and the reduction.

  Source: Wang et al. 2025 (SPA-RL), arXiv:2505.20732. [code]
  """
  ranges.at_least(0, progress_weight=progress_weight)
  ranges.at_least(0, grounded_weight=grounded_weight)
  ranges.at_least(0, regressor_learning_rate=regressor_learning_rate)
  ranges.at_least(1, regressor_updates=regressor_updates)
  ranges.at_least(0, frozen_after=frozen_after)
  grounded = credit.at_step_end("grounded")
  if last_grounded:
    at_end = lambda x, steps: jnp.where(steps.continues > 0, x, 1.0)
    grounded = credit.chain(grounded, credit.stateless(at_end))
  reward = credit.add(
    credit.scale(credit.at_step_end("progress"), progress_weight),
    credit.scale(grounded, grounded_weight),
  )
  regressor = functools.partial(
    progress.progress,
    learning_rate=regressor_learning_rate,
    updates=regressor_updates,
    frozen_after=frozen_after,
  )
  advantage = credit.gae(discount, lambda_)
  return recipe.Recipe(
    name="spa_rl",
    credit=credit.chain(reward, advantage, *[credit.whiten()] * whiten),
    objective=objective.clipped(clip, terms, value),
    level="token",
    formula=f"A = {'whiten of ' * whiten}gae({discount}, {lambda_}) of"
    f" {progress_weight} progress + {grounded_weight} grounded",
    value_targets=credit.chain(
      reward, credit.lambda_returns(discount, lambda_)
    ),
    source="Wang et al. 2025, arXiv:2505.20732",
    confidence="code",
    departures=(
      "the regressor is linear in the policy's features and learns online;"
      " theirs is a model of its own, fitted offline at 3e-6 and frozen",
      "the paper's reward: their example overwrites progress with a"
      " leave-one-out outcome and multiplies it by the steps left",
      "the last step is grounded if it was; theirs is last_grounded=True",
    ),
    evidence=("progress", "grounded", "value"),
    providers=(regressor,),
    verbs=("sample", "score"),
  )
