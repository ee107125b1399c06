"""Groups of rows: their keys, their votes, and a signal relative to them."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx import batch
from rlx.credit import estimator, kernels

# A group whose spread is below this fraction of its mean is one of equal
# numbers: what is left is the rounding of float32.
FLAT = 1e-6

# What may stand in `by`: a column's name, or a function that makes a key of the
# table, as `history.before` does.
By = str | Callable[[batch.Steps], Int[Array, " S"]]
# What may be a `vote`: a column's name, a function of the table, or None for
# one vote a row.
Vote = str | Callable[[batch.Steps], Float[Array, " S"]] | None


class Moments(NamedTuple):
  """Statistics of each row's group."""

  votes: Float[Array, " S"]
  centred: Float[Array, " S"]  # x - mean.
  std: Float[Array, " S"]  # 1 in a group of one.
  lone: Bool[Array, " S"]  # One vote or less.
  flat: Bool[Array, " S"]  # All numbers are equal.


def key(steps: batch.Steps, by: Sequence[By]) -> kernels.Key:
  """The group of each row; None, for all rows, if `by` is empty."""
  if not by:
    return None
  columns = [
    estimator.column(steps, name) if isinstance(name, str) else name(steps)
    for name in by
  ]
  return kernels.group_ids(*columns, live=steps.weight > 0)


def votes(steps: batch.Steps, vote: Vote = None) -> Float[Array, " S"]:
  """Votes of the rows, 0 in padding."""
  live = (steps.weight > 0).astype(steps.weight.dtype)
  if vote is None:
    return live
  given = (
    estimator.column(steps, vote) if isinstance(vote, str) else vote(steps)
  )
  return live * given


def share(*names: By) -> Callable[[batch.Steps], Float[Array, " S"]]:
  """Votes that give one to each group of rows, shared by these evenly.

  `share("trajectory", "role")` gives each agent of a trajectory one vote,
  however often it acted; `share("trajectory")` is the column "vote".
  """

  def f(steps):
    one = votes(steps)
    return one / jnp.maximum(kernels.keyed_sum(one, key(steps, names)), 1.0)

  return f


def relative(
  x: Float[Array, " S"],
  key: kernels.Key,
  vote: Float[Array, " S"],
  *,
  center: Literal["mean", "loo"] | None = "mean",
  scale: Literal["std"] | None = "std",
  ddof: float = 1.0,
  eps: float = 1e-6,
  lone: Literal["zero", "raw"] = "zero",
) -> Float[Array, " S"]:
  """`links.standardise` of a signal by a key and votes that are at hand."""
  if center is None and scale is None:
    return x
  group = moments(x, key, vote, ddof)
  out = x if center is None else group.centred
  if center == "loo":
    out = out * group.votes / jnp.where(group.lone, 1.0, group.votes - 1)
  if scale is not None:
    out = out / (group.std + eps)
  out = jnp.where(group.flat, 0.0, out)
  return jnp.where(group.lone, x if lone == "raw" else 0.0, out)


def moments(
  x: Float[Array, " S"],
  key: kernels.Key,
  vote: Float[Array, " S"],
  ddof: float,
) -> Moments:
  """Two passes; the second also takes up what rounding left in the first."""
  votes, total = kernels.keyed_sums(key, vote, vote * x)
  lone = votes < 1.5
  safe = jnp.where(lone, 1.0, votes)
  mean = total / safe
  rest = x - mean
  left, square = kernels.keyed_sums(key, vote * rest, vote * rest**2)
  left = left / safe
  centred = rest - left
  freedom = jnp.where(lone, 1.0, jnp.maximum(votes - ddof, 1e-9))
  # Nearly nothing is left, so that nothing cancels here.
  var = jnp.maximum(square - votes * left**2, 0.0) / freedom
  # A root has no gradient at 0: look at it only where it is not 0.
  spread = (var > 0) & ~lone
  std = jnp.where(spread, jnp.sqrt(jnp.where(spread, var, 1.0)), 0.0)
  flat = std <= FLAT * jnp.abs(mean)
  return Moments(votes, centred, jnp.where(lone, 1.0, std), lone, flat)
