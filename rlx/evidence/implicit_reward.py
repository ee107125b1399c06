"""Implicit step rewards: a copy of the policy that learns to prefer success."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx import batch, metrics
from rlx.credit import kernels, tokens
from rlx.evidence import chunks, provider, second_policy

Score = Literal["sum", "mean"]


def implicit_reward(
  context: provider.Context,
  *,
  beta: float = 0.05,
  learning_rate: float = 1e-6,
  max_grad_norm: float = 10.0,
  score: Score = "sum",
  threshold: float = 0.0,
) -> provider.Provider:
  """Fills "implicit_reward" by a policy phi that is trained beside ours.

      r_s = beta * sum over the chosen tokens of step s of
                     (log pi_phi - log pi_old)

  phi starts as a copy of the policy. Each batch it takes one step on `dpo_loss`
  before it scores. pi_old is the policy that sampled the batch, so that the
  reference goes along, and rewards start near 0. A batch without a pair changes
  nothing but the count.

  Args:
    context: of the policy.
    beta: scale of the rewards, within the loss too.
    learning_rate: of phi's Adam.
    max_grad_norm: its gradient is scaled down to this norm.
    score: a trajectory's score, the sum of its step rewards or their mean.
    threshold: outcomes above it are successes.

  Source: Liu et al. 2025 (iStar), arXiv:2509.19199.
  """
  transform = second_policy.optimizer(learning_rate, max_grad_norm)

  def init(key, params):
    del key
    return second_policy.init(transform, params)

  def update(state, seen: provider.Seen):
    rollout, steps = seen.rollout, seen.steps
    mask = chunks.chosen(rollout, steps)

    def rewards(params):
      new = second_policy.log_probs(context, params, rollout, mask)
      return beta * step_sums(new - seen.old_log_probs, mask, rollout, steps)

    loss = lambda x: dpo_loss(
      x, steps, most=mask.shape[0], score=score, threshold=threshold
    )
    slopes, found = jax.grad(loss, has_aux=True)(rewards(state["params"]))
    slopes = jnp.where(mask, tokens.spread(beta * slopes, rollout.segment), 0.0)
    params = state["params"]
    (grads,) = second_policy.gradients(
      context, params, params, rollout, mask, (slopes,)
    )
    some = found["implicit_reward/loss"].count > 0
    state, norm = second_policy.step(transform, state, grads, some)
    found["implicit_reward/grad_norm"] = metrics.mean(norm, some)
    return state, {"implicit_reward": rewards(state["params"])}, found

  return provider.Provider(("implicit_reward",), init, update)


def step_sums(
  x: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  rollout: batch.Rollout,
  steps: batch.Steps,
) -> Float[Array, " S"]:
  """The sum over each step's tokens; what stands outside `mask` is not read."""
  size = steps.weight.shape[0]
  at = jnp.where(mask, rollout.segment, size).reshape(-1)
  x = jnp.where(mask, x, 0.0).reshape(-1)
  return jax.ops.segment_sum(x, at, size + 1)[:size]


def dpo_loss(
  rewards: Float[Array, " S"],
  steps: batch.Steps,
  *,
  most: int,
  score: Score = "sum",
  threshold: float = 0.0,
) -> tuple[Float[Array, ""], dict[str, metrics.Mean]]:
  """(how wrongly successes and failures are ranked, metrics); lower is better.

      mean over all pairs (win, loss) of a prompt in the batch of
        -log sigmoid(score of win - score of loss)

  0 if there is no pair. A prompt whose trajectories all succeeded, or all
  failed, has none.

  Args:
    most: bound of the number of trajectories, static.
    score: of a trajectory: the sum of its rewards, or their mean.
    threshold: outcomes above it are wins.
  """
  live = steps.weight > 0
  last = jnp.iinfo(jnp.int32).max
  ranks = kernels.dense_ids(jnp.where(live, steps.trajectory, last))
  ids = jnp.where(live, ranks, most)
  total = lambda x: jax.ops.segment_sum(x, ids, most + 1)[:most]
  count = total(live.astype(rewards.dtype))
  scores = total(jnp.where(live, rewards, 0.0))
  if score == "mean":
    scores = scores / jnp.maximum(count, 1.0)
  rows = jnp.arange(live.shape[0], dtype=jnp.int32)
  first = jax.ops.segment_min(rows, ids, most + 1)[:most]
  first = jnp.where(count > 0, first, 0)
  prompt, won = steps.prompt[first], steps.outcome[first] > threshold
  pairs = (won & (count > 0))[:, None] & (~won & (count > 0))[None]
  pairs &= prompt[:, None] == prompt[None]
  margins = scores[:, None] - scores[None]
  loss = metrics.mean(jax.nn.softplus(-margins), pairs)
  right = metrics.mean((margins > 0).astype(rewards.dtype), pairs)
  found = {"implicit_reward/loss": loss, "implicit_reward/accuracy": right}
  return loss.compute(), jax.lax.stop_gradient(found)
