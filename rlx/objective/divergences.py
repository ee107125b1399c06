"""Divergence from a reference: as a number to log, and as a gradient.

The two are different questions. An estimator that is unbiased as a number may
have the gradient of something else when it is differentiated.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx.objective import ratios

Estimator = Literal["k1", "k2", "k3"]
Gradient = Literal["k1", "k2", "k3", "k3+"]


def kl(
  log_probs: Float[Array, "B L"],
  ref_log_probs: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  estimator: Estimator = "k3",
) -> Float[Array, "B L"]:
  """Estimate of KL(policy || reference) from each sampled token, in nats.

      d = log_probs - ref_log_probs
      k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d

  k1 and k3 are unbiased under the policy, k3 is never negative, k2 is biased
  and of low variance. In k3, -d is limited to [-20, 20].

  Source: Schulman 2020, "Approximating KL divergence" (joschu.net).
  """
  d = jnp.where(mask, log_probs, 0.0) - jnp.where(mask, ref_log_probs, 0.0)
  if estimator == "k1":
    return d
  if estimator == "k2":
    return 0.5 * d**2
  if estimator == "k3":
    minus = jnp.clip(-d, -ratios.LIMIT, ratios.LIMIT)
    # Not exp(..) - 1, which rounds to less than 0 near 0.
    return jnp.expm1(minus) - minus
  raise ValueError(f"KL estimator {estimator!r} is none of k1, k2, k3")


def kl_loss(
  log_probs: Float[Array, "B L"],
  ref_log_probs: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  gradient: Gradient = "k3",
) -> Float[Array, "B L"]:
  """Divergence of each token as a loss, named by the estimator differentiated.

  For tokens sampled by the policy the expected gradient is that of
    "k1": nothing at all;
    "k2": KL(policy || reference);
    "k3": KL(reference || policy);
    "k3+": KL(policy || reference), the value being k3's (straight-through).

  For tokens of an older policy weigh it by the ratio, held constant. k3 is
  limited to at most 10, beyond which "k3" has no gradient.
  """
  if gradient in ("k1", "k2"):
    return kl(log_probs, ref_log_probs, mask, gradient)
  k3 = jnp.minimum(kl(log_probs, ref_log_probs, mask, "k3"), 10.0)
  if gradient == "k3":
    return k3
  if gradient == "k3+":
    k2 = kl(log_probs, ref_log_probs, mask, "k2")
    return jax.lax.stop_gradient(k3 - k2) + k2
  raise ValueError(f"KL gradient {gradient!r} is none of k1, k2, k3, k3+")
