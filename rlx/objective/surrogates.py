"""What is maximised per token: the rules that published methods differ in.

All have one signature, `Surrogate`, so that an objective takes any of them.
They are losses: lower is better. Zero, with zero gradient, wherever the mask is
False, whatever is stored there.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx.objective import ratios

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


def cispo(
  log_ratio: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
  *,
  epsilon_low: float = 1.0,
  epsilon_high: float = 0.28,
) -> Tokens:
  """-sg(clip(rho, 1 - epsilon_low, 1 + epsilon_high)) A log pi: CISPO.

  The ratio is a bounded weight instead of a gate: a token that has left the
  range keeps its gradient. Inside of the range the gradient is the clipped
  surrogate's.

  Source: MiniMax 2025 (MiniMax-M1), arXiv:2506.13585, Eq. 4 and 5.
  """
  ratio = jnp.exp(jnp.where(mask, log_ratio, 0.0))
  limited = jnp.clip(ratio, 1 - epsilon_low, 1 + epsilon_high)
  return _weighed(limited, log_probs, advantages, mask)


def gradient_preserving(
  log_ratio: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
  *,
  epsilon_low: float = 0.2,
  epsilon_high: float = 0.2,
  above: float = 1.0,
  below: float = 1.0,
) -> Tokens:
  """-sg(w) A log pi: the clipped surrogate, with gradient where it has none.

      w = above (1 + epsilon_high)  where A > 0 and rho > 1 + epsilon_high
          below (1 - epsilon_low)   where A < 0 and rho < 1 - epsilon_low
          rho                       elsewhere

  With `above` and `below` 0 the gradient is the clipped surrogate's.

  Source: Step-GUI 2025, arXiv:2512.15431.
  """
  ratio = jnp.exp(jnp.where(mask, log_ratio, 0.0))
  high, low = 1 + epsilon_high, 1 - epsilon_low
  weight = jnp.where((ratio > high) & (advantages > 0), above * high, ratio)
  weight = jnp.where((ratio < low) & (advantages < 0), below * low, weight)
  return _weighed(weight, log_probs, advantages, mask)


def sapo(
  log_ratio: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
  *,
  temperature_positive: float = 1.0,
  temperature_negative: float = 1.05,
) -> Tokens:
  """-(4 / tau) sigmoid(tau (rho - 1)) A: SAPO, a gate without an edge.

  tau is `temperature_positive` where A > 0 and `temperature_negative` elsewhere;
  the greater it is, the sooner a token that has moved stops to be learnt from.
  At rho = 1 the gradient is the policy gradient.

  Source: Gao et al. 2025 (SAPO), arXiv:2511.20347.
  """
  del log_probs
  advantages = jnp.where(mask, advantages, 0.0)
  ratio = jnp.exp(jnp.where(mask, log_ratio, 0.0))
  tau = jnp.where(advantages > 0, temperature_positive, temperature_negative)
  gate = jax.nn.sigmoid(tau * (ratio - 1)) * 4 / tau
  return jnp.where(mask, -gate * advantages, 0.0)


def geometric_mean(
  log_ratio: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
  *,
  epsilon_low: float = 0.4,
  epsilon_high: float = 0.4,
) -> Tokens:
  """-A exp(mean over the row of the clipped log-ratios): GMPO.

      min(log rho, epsilon_high) where A > 0, max(log rho, -epsilon_low) elsewhere

  `log_ratio` is that of tokens. With the reduction "seq-mean-token-mean", which
  is the paper's, it is one ratio per row times the mean advantage of its tokens:
  an advantage that differs within a row acts as its mean.

  Source: Zhao et al. 2025 (GMPO), arXiv:2507.20673.
  """
  del log_probs
  advantages = jnp.where(mask, advantages, 0.0)
  log_ratio = jnp.where(mask, log_ratio, 0.0)
  limited = jnp.where(
    advantages > 0,
    jnp.minimum(log_ratio, epsilon_high),
    jnp.maximum(log_ratio, -epsilon_low),
  )
  ratio = jnp.exp(ratios.pool_mean(limited, mask))
  return jnp.where(mask, -ratio * advantages, 0.0)


def _weighed(
  weight: Tokens,
  log_probs: Tokens,
  advantages: Tokens,
  mask: Bool[Array, "B L"],
) -> Tokens:
  """-sg(weight) A log pi, the policy gradient times a constant."""
  weight = jax.lax.stop_gradient(jnp.where(mask, weight, 0.0))
  return weight * reinforce(weight, log_probs, advantages, mask)
