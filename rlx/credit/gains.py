"""Gains: what a step added to the estimated value of its trajectory."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from rlx.credit import chains, estimator, kernels


def gain(best_of: int = 1, of: str = "value") -> estimator.Estimator:
  """The value after a step less the value before it, whatever the signal.

      b(value_after) - b(value_before),  b(v) = 1 - (1 - v)^best_of

  b is the chance that one of `best_of` attempts succeeds, where v is that of a
  single one; a v that is no chance is cut to one. With `best_of` 1, b(v) = v.

  Args:
    of: the columns are those with `_after` and `_before` behind this name.

  Raises:
    ValueError: best_of is not positive.
  """
  if best_of < 1:
    raise ValueError(f"best_of={best_of}: must be 1 or more")

  def f(signal, steps):
    after = estimator.column(steps, f"{of}_after").astype(signal.dtype)
    before = estimator.column(steps, f"{of}_before").astype(signal.dtype)
    return better(after, best_of) - better(before, best_of)

  return estimator.stateless(f)


def better(v: Float[Array, " S"], best_of: int) -> Float[Array, " S"]:
  """The chance that one of `best_of` attempts succeeds; v where it is 1."""
  if best_of == 1:
    return v
  return 1 - (1 - jnp.clip(v, 0.0, 1.0)) ** best_of


def inner() -> estimator.Estimator:
  """The signal, and 0 on the first and on the last row of a trajectory."""

  def f(signal, steps):
    ends = (steps.index == 0) | (steps.continues <= 0)
    return jnp.where(ends, 0.0, signal)

  return estimator.stateless(f)


def look_ahead(
  discount: float = 0.7, limit: int = 4, threshold: float = 1e-5
) -> estimator.Estimator:
  """The signal, and where it is flat, a part of the next that is not.

  y[t] = x[t]                          where |x[t]| >= threshold
       = discount^(k - t) * x[k]       k the next such step, k - t <= limit
       = 0                             where there is none
  """

  def f(signal, steps):
    flat = jnp.abs(signal) < threshold
    one = jnp.ones_like(signal)
    step = jnp.where(flat, chains.continuation(steps, 1.0), 0.0)
    ahead = jnp.where(flat & (steps.weight > 0), one, 0.0)
    c = jnp.where(flat, chains.continuation(steps, discount), 0.0)
    # Padding is flat: it is passed over, and is no step.
    distance = kernels.propagate(ahead, step.astype(signal.dtype))
    y = kernels.propagate(jnp.where(flat, 0.0, signal), c.astype(signal.dtype))
    return jnp.where(distance <= limit, y, 0.0)

  return estimator.stateless(f)


def sooner() -> estimator.Estimator:
  """The signal of a trajectory's next row: everything is paid a step sooner."""

  def f(signal, steps):
    after = chains.later(steps)
    return jnp.where(after >= 0, signal[jnp.maximum(after, 0)], 0.0)

  return estimator.stateless(f)
