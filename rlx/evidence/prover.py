"""A prover: a second policy that imitates what succeeded."""

import jax.numpy as jnp

from rlx import metrics
from rlx.evidence import chunks, implicit_reward, provider, second_policy


def prover(
  context: provider.Context,
  *,
  learning_rate: float = 1e-6,
  max_grad_norm: float = 1.0,
  threshold: float = 0.0,
) -> provider.Provider:
  """Fills "prover_log_prob" by a policy of its own, trained on successes.

      loss = -mean over the tokens chosen in successful trajectories of log mu

  It starts as a copy of the policy and takes one step a batch, before it
  scores; a batch without a success changes nothing but the count. The column is
  the mean of log mu over the tokens of the step, 0 for a step without any.
  `state["params"]` are what a plan may continue with, to estimate what a step
  is worth to a policy other than ours.

  Args:
    context: of the policy.
    learning_rate: of the prover's Adam.
    max_grad_norm: its gradient is scaled down to this norm.
    threshold: outcomes above it are successes.

  Source: Setlur et al. 2024 (PAV), arXiv:2410.08146, has provers that are
  fixed, or best-of-K of the policy; that one is imitated here is our inference.
  """
  transform = second_policy.optimizer(learning_rate, max_grad_norm)

  def init(key, params):
    del key
    return second_policy.init(transform, params)

  def update(state, seen: provider.Seen):
    rollout, steps = seen.rollout, seen.steps
    mask = chunks.chosen(rollout, steps)
    success = (steps.outcome > threshold)[jnp.maximum(rollout.segment, 0)]
    good = (mask & success).astype(jnp.float32)
    weights = good / jnp.maximum(good.sum(), 1.0)
    score = lambda params: second_policy.log_probs(
      context, params, rollout, mask
    )
    (grads,) = second_policy.gradients(
      *(context, state["params"], state["params"], rollout, mask),
      (-weights,),
    )
    some = good.sum() > 0
    state, norm = second_policy.step(transform, state, grads, some)
    new = score(state["params"])
    sums = lambda x: implicit_reward.step_sums(x, mask, rollout, steps)
    column = sums(new) / jnp.maximum(sums(jnp.ones_like(new)), 1.0)
    found = {
      "prover/nll": metrics.mean(-new, good),
      "prover/grad_norm": metrics.mean(norm, some),
    }
    return state, {"prover_log_prob": column}, found

  return provider.Provider(("prover_log_prob",), init, update)
