"""RAPO: GRPO whose live groups stand in for the dead ones."""

import jax.numpy as jnp

from rlx import credit, objective, ranges
from rlx.credit import kernels
from rlx.recipes import recipe
from rlx.rollout import plan
from rlx.rollout.plans import replay


def rapo(
  *,
  scale: bool = True,
  replayed: bool = True,
  success_above: float = 0.5,
  remembered: int = 256,
  clip: objective.Clip = objective.Clip(),
  terms: objective.Terms = objective.Terms(reduction="seq-mean-token-mean"),
) -> recipe.Recipe:
  """GRPO times (number of groups) / (number of groups whose outcomes differ).

      A = (G / G_good) standardise(R, by prompt)

  So the step does not shrink as more prompts are always, or never, solved. All
  groups alive give GRPO; none gives 0. In a group that failed, one sample is
  overwritten with the latest success of its prompt. The third part of the
  method is `evidence.steering`: rewards of tool use, pruning of solved prompts.

  Args:
    scale: divide by the standard deviation of the group.
    replayed: replay successes in groups that failed.
    success_above: outcomes above it are successes.
    remembered: prompts of which a success is kept.
    clip: range of the ratio.
    terms: what stands beside the surrogate, and the reduction.

  Source: Singh et al. 2025 (Fathom-DeepResearch), arXiv:2509.24107. [paper]
  """
  ranges.finite(success_above=success_above)
  ranges.at_least(1, remembered=remembered)
  by = "std" if scale else None
  return recipe.Recipe(
    name="rapo",
    credit=credit.chain(
      credit.outcome(),
      credit.standardise(by=("prompt",), vote="vote", scale=by),
      credit.stateless(_stand_in),
    ),
    objective=objective.clipped(clip, terms),
    formula="A = (groups / live groups) standardise(outcome, by=prompt)",
    min_group=2,
    source="Singh et al. 2025, arXiv:2509.24107",
    confidence="paper",
    departures=(
      "a prompt counts as solved by outcomes above 0.5, and is not left out of"
      " the next epoch; evidence.steering.solved says which would be",
      "a replayed sample keeps its log-probabilities and its version;"
      " learner.old_log_probs recomputes them",
    ),
    plan=replay.replay(success_above=success_above, capacity=remembered)
    if replayed
    else plan.sample(),
    verbs=("sample", "edit", "buffer", "filter"),
  )


def _stand_in(x, steps):
  live = (steps.weight > 0).astype(x.dtype)
  key = kernels.group_ids(steps.prompt, live=steps.weight > 0)
  # Each row has its share of the group; the sums are numbers of groups.
  share = live / jnp.maximum(kernels.keyed_sum(live, key), 1.0)
  good = kernels.keyed_max(jnp.abs(x), key) > 0
  groups = jnp.round(share.sum())
  alive = jnp.round(jnp.where(good, share, 0.0).sum())
  return x * (groups / jnp.maximum(alive, 1.0))
