"""What is maximised per token: the rules that published methods differ in.

All have one signature, `Surrogate`, so that an objective takes any of them.
They are losses: lower is better. Zero, with zero gradient, wherever the mask is
False, whatever is stored there.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Tokens = Float[Array, "B L"]

# (log_ratio, log_probs, advantages, mask) -> loss of each token.
Surrogate = Callable[[Tokens, Tokens, Tokens, Bool[Array, "B L"]], Tokens]


def clipped(
  log_ratio: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
  *,
  epsilon_low: float = 0.2,
  epsilon_high: float = 0.2,
  dual_clip: float | None = None,
) -> Tokens:
  """Clipped surrogate loss of each token; lower is better.

      loss = -min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A)
      where A < 0 and dual_clip is set: min(loss, -dual_clip A)

  Source: Schulman et al. 2017, arXiv:1707.06347, Eq. 7. The asymmetric range is
  DAPO's (arXiv:2503.14476), the dual clip Ye et al.'s (arXiv:1912.09729).
  """
  del log_probs
  advantages = jnp.where(mask, advantages, 0.0)
  ratio = jnp.exp(jnp.where(mask, log_ratio, 0.0))
  limited = jnp.clip(ratio, 1 - epsilon_low, 1 + epsilon_high)
  loss = -jnp.minimum(ratio * advantages, limited * advantages)
  if dual_clip is not None:
    bound = jnp.minimum(loss, -dual_clip * advantages)
    loss = jnp.where(advantages < 0, bound, loss)
  return jnp.where(mask, loss, 0.0)


def reinforce(
  log_ratio: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
) -> Tokens:
  """-A log pi: the plain policy gradient, right for tokens just sampled.

  Source: Williams 1992.
  """
  del log_ratio
  log_probs = jnp.where(mask, log_probs, 0.0)
  return -log_probs * jnp.where(mask, advantages, 0.0)
