"""Neighbours along the chains of a table, over which padding is transparent."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlx import batch
from rlx.credit import estimator, kernels


def continuation(steps: batch.Steps, factor: float) -> Float[Array, " S"]:
  """The coefficient c of `propagate`; 1 on padding, which is transparent."""
  c = jnp.where(steps.continues > 0, factor * steps.continues, 0.0)
  return jnp.where(steps.weight > 0, c, 1.0)


def following(x: Float[Array, " S"], steps: batch.Steps) -> Float[Array, " S"]:
  """The entry of the next row that is not padding, whosever it is."""
  live = steps.weight > 0
  carried = kernels.propagate(
    jnp.where(live, x, 0.0), jnp.where(live, 0.0, 1.0).astype(x.dtype)
  )
  return jnp.concatenate([carried[1:], jnp.zeros_like(carried[:1])])


def later(steps: batch.Steps) -> Int[Array, " S"]:
  """The row of the trajectory's next step; -1 on its last and on padding."""
  live = steps.weight > 0
  size = live.shape[0]
  here = jnp.arange(size, dtype=jnp.int32)
  after = jax.lax.cummin(jnp.where(live, here, size), reverse=True)
  after = jnp.concatenate([after[1:], jnp.full(1, size, jnp.int32)])
  continues = live & (steps.continues > 0) & (after < size)
  return jnp.where(continues, after, -1)


def earlier(steps: batch.Steps, back: int = 1) -> Int[Array, " S"]:
  """The row `back` steps before in the trajectory; -1 where there is none.

  Raises:
    ValueError: `back` is negative.
  """
  if back < 0:
    raise ValueError(f"back={back} is negative")
  live = steps.weight > 0
  here = jnp.arange(live.shape[0], dtype=jnp.int32)
  before = jax.lax.cummax(jnp.where(live, here, -1))
  before = jnp.concatenate([jnp.full(1, -1, jnp.int32), before[:-1]])
  same = steps.trajectory[jnp.maximum(before, 0)] == steps.trajectory
  before = jnp.where(live & (before >= 0) & same, before, -1)
  row = jnp.where(live, here, -1)
  for _ in range(back):
    row = jnp.where(row >= 0, before[jnp.maximum(row, 0)], -1)
  return row


def final() -> estimator.Estimator:
  """The signal of each trajectory's last row, on each of its rows.

  For evidence that is about a whole trajectory and is written where it ended.
  """

  def f(signal, steps):
    last = jnp.where(steps.continues > 0, 0.0, signal)
    return kernels.propagate(last, continuation(steps, 1.0))

  return estimator.stateless(f)
