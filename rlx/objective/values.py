"""The loss of a value function."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def value_loss(
  values: Float[Array, "B L"],
  old_values: Float[Array, "B L"],
  returns: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  *,
  clip: float | None = 0.5,
) -> Float[Array, "B L"]:
  """Squared error of each token's value, limited to a range of its old value.

      max((v - R)^2, (clip(v, v_old - clip, v_old + clip) - R)^2) / 2

  Zero, with zero gradient, wherever `mask` is False.

  Args:
    clip: half-width of the range; None for the plain squared error.

  Source: the PPO of Dhariwal et al. 2017 (OpenAI baselines); verl's form.
  """
  values = jnp.where(mask, values, 0.0)
  returns = jnp.where(mask, returns, 0.0)
  error = (values - returns) ** 2
  if clip is not None:
    old_values = jnp.where(mask, old_values, 0.0)
    limited = jnp.clip(values, old_values - clip, old_values + clip)
    error = jnp.maximum(error, (limited - returns) ** 2)
  return jnp.where(mask, 0.5 * error, 0.0)
