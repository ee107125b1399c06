"""Answers that were cut off or nearly: a penalty, or no part in the loss."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def penalty(
  lengths: Int[Array, " B"],
  *,
  max_length: int,
  buffer: int,
  factor: float = 1.0,
) -> Float[Array, " B"]:
  """Soft overlong penalty, to be added to the reward; 0 or negative.

      -factor * (length - (max_length - buffer)) / buffer, within [-factor, 0]

  Args:
    lengths: tokens of each answer, observations included.
    buffer: tokens before `max_length` over which it grows.

  Source: Yu et al. 2025 (DAPO), arXiv:2503.14476, Eq. 13.
  """
  if not 0 < buffer <= max_length:
    raise ValueError(f"buffer={buffer} is not in 1..max_length={max_length}")
  excess = (lengths - (max_length - buffer)).astype(jnp.float32)
  return -factor * jnp.clip(excess / buffer, 0.0, 1.0)


def finished_only(
  mask: Bool[Array, "B L"], truncated: Bool[Array, " B"]
) -> Bool[Array, "B L"]:
  """The mask without the rows that were truncated.

  Their rewards still stand in the baseline of their group, as in DAPO. To take
  them out of it as well, set the weight of their steps to 0.
  """
  return mask & ~truncated[:, None]
