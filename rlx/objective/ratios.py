"""How far the policy has moved, per token, and over what it is pooled."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx.credit import kernels

Level = Literal["token", "step", "sequence"]

# exp(20) = 4.9e8 is finite in float32, and no honest ratio comes near.
LIMIT = 20.0

# Above this no ratio of a whole step or sequence goes, as in GSPO's code.
POOLED_LIMIT = 10.0


def log_ratio(
  log_probs: Float[Array, "B L"],
  old_log_probs: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  *,
  level: Level = "token",
  segment: Int[Array, "B L"] | None = None,
) -> Float[Array, "B L"]:
  """Log of the importance ratio of each token, 0 where `mask` is False.

      "token":  d = log_probs - old_log_probs
      others:   sg(mean of d over the segment) + log_probs - sg(log_probs)

  The second is the geometric mean of the segment's ratios in its token form,
  sg(s) * pi / sg(pi): every token has the value of the segment and the gradient
  of its own log-probability. Where advantage and weight are constant over the
  segment, the sum over its tokens has the gradient of the segment's ratio.
  Limited to [-20, 20], a pooled one to [-20, 10], beyond which there is no
  gradient.

  Args:
    level: what the ratio is pooled over: nothing, the tokens of one `segment`
      in one row, or all tokens of a row.
    segment: needed for "step".

  Source: Zheng et al. 2025 (GSPO), arXiv:2507.18071.
  """
  # Mask before exp: a `where` after it stops the value but not a NaN gradient.
  log_probs = jnp.where(mask, log_probs, 0.0)
  d = log_probs - jnp.where(mask, old_log_probs, 0.0)
  high = LIMIT
  if level != "token":
    high = POOLED_LIMIT
    if level == "step" and segment is None:
      raise ValueError("ratio level 'step' needs the segment of each token")
    pooled = pool_mean(d, mask, segment if level == "step" else None)
    own = log_probs - jax.lax.stop_gradient(log_probs)
    d = jax.lax.stop_gradient(pooled) + own
  return jnp.where(mask, jnp.clip(d, -LIMIT, high), 0.0)


def pool_sum(
  x: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  segment: Int[Array, "B L"] | None = None,
) -> Float[Array, "B L"]:
  """Sum over the masked tokens of each token's segment, within its row.

  The whole row is one segment if `segment` is None.
  """
  x = jnp.where(mask, x, 0.0)
  if segment is None:
    return jnp.broadcast_to(jnp.sum(x, axis=-1, keepdims=True), x.shape)
  ids = jax.vmap(kernels.dense_ids)(segment)
  return jax.vmap(kernels.keyed_sum)(x, ids)


def pool_mean(
  x: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  segment: Int[Array, "B L"] | None = None,
) -> Float[Array, "B L"]:
  """Mean over the masked tokens of each token's segment, within its row."""
  count = pool_sum(mask.astype(x.dtype), mask, segment)
  return pool_sum(x, mask, segment) / jnp.maximum(count, 1.0)
