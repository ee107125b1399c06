"""Statistics over the first step of each trajectory, applied to all steps."""

from typing import Literal

import jax.numpy as jnp

from rlx.credit import estimator, groups, kernels


def standardise_by_first_steps(
  center: Literal["mean", "loo"] = "mean", scale: Literal["std"] | None = None
) -> estimator.Estimator:
  """The signal relative to the first steps of the prompt's trajectories.

      mu, var: of x over the n steps of index 0, with n - 1 in var
      "mean": x - mu      "loo": (x - mu) n / (n - 1)
      "std": divided by sqrt(var) + 1e-6

  0 where the prompt has one trajectory. Every step of a trajectory so has the
  baseline of its first, whatever it is worth itself.

  Source: the code of iStar, arXiv:2509.19199; the paper's baseline is over all
  steps, which is `links.standardise`.
  """

  def f(x, steps):
    key = groups.key(steps, ("prompt",))
    first = ((steps.index == 0) & (steps.weight > 0)).astype(x.dtype)
    n = kernels.keyed_sum(first, key)
    rest = x - kernels.keyed_mean(x, key, first)
    less = jnp.maximum(n - 1, 1)
    out = rest * n / less if center == "loo" else rest
    if scale is not None:
      var = kernels.keyed_sum(first * rest**2, key) / less
      out = out / (jnp.sqrt(var) + 1e-6)
    return jnp.where(n > 1, out, 0.0)

  return estimator.stateless(f)
