"""Shapes of a learnt reward, against which it is harder to cheat.

All are of arrays of any shape, in the units of the reward; what is compared
with references has these along its last axis.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rlx.rewards import calls

Numbers = ArrayLike | Sequence[Any]


def par(
  reward: Numbers, references: Numbers, slope: float | int = 1.0
) -> jax.Array:
  """The chance of being preferred to a reference: mean of sigma(k (r - r_j)).

  In (0, 1), rising with the reward; slope 0 leaves 1/2 of everything. The
  references are rewards of other answers to the same prompt, [..., J].

  Source: Fu et al. 2025 (PAR), arXiv:2502.18770. [code]
  """
  r, refs = jnp.asarray(reward), jnp.asarray(references)
  return jnp.mean(jax.nn.sigmoid(slope * (r[..., None] - refs)), axis=-1)


def log_sigmoid_centered(
  reward: Numbers, references: Numbers, quantile: float = 0.85
) -> jax.Array:
  """LSC: log sigma(r - q), q a quantile of the references' rewards.

  Negative, and flat above the quantile.

  Source: Wang et al. 2024, arXiv:2402.00742, as in PAR's code.
  """
  q = jnp.quantile(jnp.asarray(references), quantile, axis=-1)
  return jax.nn.log_sigmoid(jnp.asarray(reward) - q)


def mean_std(rewards: Numbers, eps: float = 1e-8) -> jax.Array:
  """(r - mean) / (std + eps) over all of `rewards`, with n in the deviation."""
  r = jnp.asarray(rewards)
  return (r - jnp.mean(r)) / (jnp.std(r) + eps)


def min_max(rewards: Numbers) -> jax.Array:
  """`rewards` moved to [0, 1]; 0 where all are equal."""
  r = jnp.asarray(rewards)
  low, high = jnp.min(r), jnp.max(r)
  return (r - low) / jnp.where(high > low, high - low, 1.0)


def clip(rewards: Numbers, limit: float | int = 1.0) -> jax.Array:
  """`rewards` limited to [-limit, limit]."""
  return jnp.clip(jnp.asarray(rewards), -limit, limit)


def against_references(
  reward: Callable[..., Sequence[float | None]],
  shape: Callable[[Numbers, Numbers], ArrayLike] = par,
) -> Callable[..., list[float | None]]:
  """A reward function with its rewards shaped against those of references.

  The data set has a column `reference_rewards`: for each sample the rewards, by
  the same function, of one or more reference answers. None stays None.

  Args:
    reward: a reward function that is not `async`; see `rlx.rewards.combine`.
    shape: `(reward, references) -> reward`, as `par`.
  """

  def shaped(*, reference_rewards, **columns: Any) -> list[float | None]:
    raw = reward(**calls.accepted(reward, columns))
    return [
      None if r is None else float(jnp.asarray(shape(r, jnp.asarray(refs))))
      for r, refs in zip(raw, reference_rewards, strict=True)
    ]

  shaped.__name__ = f"{calls.name_of(reward)}_against_references"
  return shaped
