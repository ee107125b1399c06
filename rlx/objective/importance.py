"""Weights for the mismatch between the sampler's numbers and the trainer's."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx.objective import ratios


def truncated(
  old_log_probs: Float[Array, "B L"],
  sampler_log_probs: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  *,
  cap: float,
  level: Literal["token", "sequence"] = "token",
) -> Float[Array, "B L"]:
  """Truncated importance weight of each token, a constant; 0 where not chosen.

      "token":    min(exp(old_log_probs - sampler_log_probs), cap)
      "sequence": min(exp(sum over the row's chosen tokens), cap)

  `old_log_probs` are the trainer's for the parameters that sampled. Where the
  sampler's own log-probabilities serve as the old ones of a clipped ratio, the
  ratio already corrects, and this must not be applied as well.

  Source: Yao et al. 2025, "Your efficient RL framework secretly brings you
  off-policy RL training".
  """
  d = jnp.where(mask, old_log_probs, 0.0)
  d = d - jnp.where(mask, sampler_log_probs, 0.0)
  if level == "sequence":
    d = ratios.pool_sum(d, mask)
  weight = jnp.exp(jnp.clip(d, -ratios.LIMIT, ratios.LIMIT))
  weight = jnp.where(mask, jnp.minimum(weight, cap), 0.0)
  return jax.lax.stop_gradient(weight)
