"""Stepwise progress: contributions that sum to the outcome."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rlx import batch, metrics
from rlx.credit import kernels
from rlx.evidence import linear, provider


def progress(
  context: provider.Context,
  *,
  learning_rate: float = 1e-2,
  updates: int = 4,
  frozen_after: int | None = None,
) -> provider.Provider:
  """Fills "progress" by a regressor whose contributions add up.

      c_t = w . h_t + b,   loss = mean over trajectories of (sum_t c_t - R)^2

  h_t is the policy's feature at the last token chosen in step t, a constant,
  here scaled to unit length. Only the sum is constrained: of the solutions,
  gradient descent from 0 finds a small one.

  Theirs is fitted offline, before the policy is trained, with a backbone of its
  own, and is frozen then. Ours learns from each batch before it scores it, on
  the policy's own features; `frozen_after` freezes w and b.

  Args:
    context: of the policy.
    learning_rate: of the regressor's Adam.
    updates: steps on each batch.
    frozen_after: batches that it learns from; None for all.

  Source: Wang et al. 2025 (SPA-RL), arXiv:2505.20732.
  """
  transform = optax.adam(learning_rate)

  def init(key, params):
    del key
    return linear.init(transform, linear.width(context, params))

  def update(state, seen: provider.Seen):
    steps = seen.steps
    features = linear.features(
      context, seen.params, seen.rollout, steps, "last"
    )
    live = steps.weight > 0
    learn = jnp.any(live)
    if frozen_after is not None:
      learn &= state["count"] < frozen_after
    error = lambda x: loss(x, steps).compute()
    state = linear.fit(transform, state, features, error, updates, learn)
    column = jnp.where(live, linear.apply(state["params"], features), 0.0)
    return state, {"progress": column}, {"progress/loss": loss(column, steps)}

  return provider.Provider(("progress",), init, update)


def loss(contributions: Float[Array, " S"], steps: batch.Steps) -> metrics.Mean:
  """(sum of the contributions - outcome)^2, the mean over trajectories."""
  live = steps.weight > 0
  one = live.astype(contributions.dtype)
  key = kernels.group_ids(steps.trajectory, live=live)
  total = kernels.keyed_sum(jnp.where(live, contributions, 0.0), key)
  error = jnp.where(live, total - steps.outcome, 0.0)
  share = one / jnp.maximum(kernels.keyed_sum(one, key), 1.0)
  return metrics.mean(error**2, jnp.where(live, share, 0.0))
