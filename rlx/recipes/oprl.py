"""OPRL (iStar): implicit step rewards, learnt online beside the policy."""

import functools
from typing import Literal

from rlx import credit, objective, ranges
from rlx.credit import first_steps
from rlx.evidence import implicit_reward
from rlx.recipes import recipe


def oprl(
  *,
  step_weight: float = 1.0,
  center: Literal["loo", "mean"] = "loo",
  scale: bool = False,
  baseline: Literal["all_steps", "first_step"] = "all_steps",
  beta: float = 0.05,
  score: Literal["sum", "mean"] = "sum",
  threshold: float = 0.0,
  lone: Literal["zero", "raw"] = "zero",
  reward_learning_rate: float = 1e-6,
  reward_max_grad_norm: float = 10.0,
  clip: objective.Clip = objective.Clip(ratio_level="step"),
  terms: objective.Terms = objective.Terms(),
) -> recipe.Recipe:
  """iStar: RLOO, and RLOO again on steps that a second model rewards.

      r_s = beta sum over the tokens of step s of (log pi_phi - log pi_old)
      A = loo(R, by prompt) + step_weight loo(r, by prompt)

  phi is a copy of the policy, trained by DPO to prefer the trajectories of a
  prompt that succeeded to those that failed. It starts at the policy, so at
  first the outcome alone teaches.

  Args:
    step_weight: alpha, of the comparison between steps; 0 gives RLOO.
    center: subtract the mean of the others, or of all.
    scale: divide both by the standard deviation of the prompt; with
      center="mean" this is their GRPO form.
    baseline: the step channel's mean is over all steps of the prompt, or over
      the first of each trajectory, as in their code.
    beta: of DPO, and scale of the step rewards.
    score: of a trajectory in DPO; theirs is the "mean" over its steps.
    threshold: outcomes above it are successes.
    lone: what the only trajectory of a prompt gets of its outcome, 0 or all.
    reward_learning_rate: of phi.
    reward_max_grad_norm: of phi.
    clip: range of the ratio, one ratio for each step.
    terms: what stands beside the surrogate, and the reduction.

  Source: Liu et al. 2025 (iStar), arXiv:2509.19199. [code]
  """
  ranges.at_least(0, step_weight=step_weight)
  ranges.at_least(0, reward_learning_rate=reward_learning_rate)
  ranges.above(0, beta=beta, reward_max_grad_norm=reward_max_grad_norm)
  ranges.finite(threshold=threshold)
  by = "std" if scale else None
  normalise = functools.partial(
    credit.standardise, by=("prompt",), center=center, scale=by
  )
  step = normalise()
  if baseline == "first_step":
    step = first_steps.standardise_by_first_steps(center, by)
  learner = functools.partial(
    implicit_reward.implicit_reward,
    beta=beta,
    learning_rate=reward_learning_rate,
    max_grad_norm=reward_max_grad_norm,
    score=score,
    threshold=threshold,
  )
  steps = credit.chain(credit.evidence("implicit_reward"), step)
  return recipe.Recipe(
    name="oprl",
    credit=credit.add(
      credit.chain(credit.outcome(), normalise(vote="vote", lone=lone)),
      credit.scale(steps, step_weight),
    ),
    objective=objective.clipped(clip, terms),
    formula=f"A = standardise(outcome, by=prompt, center={center})"
    f" + {step_weight} standardise(implicit_reward, by=prompt, {center})",
    min_group=2,
    source="Liu et al. 2025, arXiv:2509.19199",
    confidence="code",
    departures=(
      "a step's baseline is over all steps; theirs is baseline='first_step'",
      "a trajectory's DPO score is a sum; their code's is score='mean'",
      "the reward model takes one step a batch, theirs one a mini-batch of 64",
      "a lone trajectory gets 0 for its outcome; theirs is lone='raw'",
      "their optional division of step rewards by the largest sum, and their"
      " variant with the baseline of REINFORCE++, are left out",
      "the penalty of 0.1 on invalid actions belongs to the environment",
    ),
    evidence=("implicit_reward",),
    providers=(learner,),
    verbs=("sample", "score"),
  )
