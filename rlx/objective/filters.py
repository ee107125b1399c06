"""Which tokens are learnt from, by how far sampler and trainer disagree.

With x = exp(old_log_probs - sampler_log_probs), the ratio of the probabilities
that the trainer and the sampler gave a token before any update. Nothing is
differentiated, and nothing is kept where the policy did not choose.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx.objective import divergences, ratios

# (old_log_probs, sampler_log_probs, mask) -> which tokens stay in the surrogate.
Filter = Callable[
  [Float[Array, "B L"], Float[Array, "B L"], Bool[Array, "B L"]],
  Bool[Array, "B L"],
]


def bands(
  old_log_probs: Float[Array, "B L"],
  sampler_log_probs: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  *,
  token: tuple[float, float] = (0.5, 2.0),
  sequence: tuple[float, float] = (0.996, 1.001),
) -> Bool[Array, "B L"]:
  """Tokens whose x, and whose row's geometric mean of x, lie within bounds.

      kept = token[0] <= x <= token[1]
             and sequence[0] <= (product of x over the row)^(1/T) <= sequence[1]

  T and the product are over the chosen tokens, also over those that the first
  condition leaves out. Both are compared as logarithms.

  Source: StepFun 2026 (Step 3.5 Flash, MIS-PO), arXiv:2602.10604.
  """
  _check_band("token", token)
  _check_band("sequence", sequence)
  d = _log_ratio(old_log_probs, sampler_log_probs, mask)
  mean = ratios.pool_mean(d, mask)
  return mask & _between(d, *token) & _between(mean, *sequence)


def accepted(
  old_log_probs: Float[Array, "B L"],
  sampler_log_probs: Float[Array, "B L"],
  mask: Bool[Array, "B L"],
  *,
  estimator: divergences.Estimator = "k1",
  bound: float = 2.0,
  level: Literal["token", "sequence"] = "token",
) -> Bool[Array, "B L"]:
  """Tokens, or all tokens of rows, with an estimate of mismatch in bounds.

      "k1": x within [1 / bound, bound]
      "k2": log(x)^2 / 2 <= bound
      "k3": x - 1 - log x <= bound

  Args:
    level: "sequence" takes the mean of the estimate over the row's chosen
      tokens, which for k1 is the geometric mean of x.
  """
  # The tokens are the sampler's: they estimate KL(sampler || trainer).
  k = divergences.kl(sampler_log_probs, old_log_probs, mask, estimator)
  if level == "sequence":
    k = ratios.pool_mean(k, mask)
  within = _between(-k, 1 / bound, bound) if estimator == "k1" else k <= bound
  return mask & within


def _log_ratio(old, sampler, mask):
  return jnp.where(mask, old, 0.0) - jnp.where(mask, sampler, 0.0)


def _between(log: Float[Array, "B L"], low: float, high: float):
  return (log >= jnp.log(low)) & (log <= jnp.log(high))


def _check_band(name: str, band: tuple[float, float]) -> None:
  low, high = band
  if not 0 <= low <= 1 <= high:
    raise ValueError(f"{name} band ({low}, {high}) does not hold the ratio 1")
