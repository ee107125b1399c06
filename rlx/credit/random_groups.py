"""Random groups: rows compared with others that a draw put beside them."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from rlx.credit import estimator, groups, kernels


def standardise_at_random(
  size: int,
  within: Sequence[groups.By] = (),
  seed: int = 0,
  scale: Literal["std"] | None = "std",
  eps: float = 1e-6,
) -> estimator.Estimator:
  """The signal relative to random groups of `size` rows, drawn at each update.

  The groups are `partition`s of the live rows, by numbers drawn for all rows.
  The state is the data of a random key, uint32 [2], which can be saved; the
  same key and table give the same groups.

  Args:
    size: of a group. Below 1, or above the number of rows, all rows are one.
    within: columns in which the rows of a group agree. Empty: the whole batch.
    seed: of the first key.
    scale, eps: as in `links.standardise`. A group of one gets 0.
  """

  def init():
    return jax.random.key_data(jax.random.key(seed, impl=_IMPL))

  def update(signal, state, steps):
    state, now = jax.random.split(jax.random.wrap_key_data(state, impl=_IMPL))
    live = steps.weight > 0
    draw = jax.random.bits(now, live.shape, jnp.uint32)
    key = partition(draw, groups.key(steps, within), live, size)
    out = groups.relative(
      jnp.where(live, signal, 0.0),
      key,
      groups.votes(steps),
      scale=scale,
      eps=eps,
    )
    return jnp.where(live, out, 0.0), jax.random.key_data(state)

  return estimator.Estimator(init, update)


# Named, so that a saved key fits whatever the process's default is.
_IMPL = "threefry2x32"


def partition(
  draw: UInt32[Array, " S"],
  scope: kernels.Key,
  live: Bool[Array, " S"],
  size: int,
) -> Int[Array, " S"]:
  """Keys of groups of `size` live rows of one scope, in the order of `draw`.

  A scope's last group may be smaller. Rows that are not live are in none, and
  take no place. `size` below 1 makes each scope one group.
  """
  rows = live.shape[0]
  size = rows if size < 1 else size
  # Of each draw 29 bits are used; what is not live comes after all of them.
  draw = jnp.where(live, draw & jnp.uint32(2**29 - 1), jnp.uint32(2**29))
  order = _sorted_by(draw, 30, jnp.arange(rows, dtype=jnp.uint32))
  many = scope is not None
  scope = jnp.where(live, scope if many else 0, rows).astype(jnp.uint32)
  if many:
    order = _sorted_by(scope, rows.bit_length(), order)
  ordered = scope[order]
  here = jnp.arange(rows, dtype=jnp.int32)
  starts = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
  first = jax.lax.cummax(jnp.where(starts, here, 0))
  # Unique in the batch: a scope of n rows that starts at `first` has at most n
  # groups.
  ids = first + (here - first) // size
  key = jnp.zeros(rows, jnp.int32).at[order].set(ids)
  return jnp.where(live, key, rows)


def _sorted_by(
  x: UInt32[Array, " S"], bits: int, order: UInt32[Array, " S"]
) -> UInt32[Array, " S"]:
  """`order`, sorted stably by the lowest `bits` bits of x[order].

  Digit by digit, each packed into one word with the place that it has: CPUs
  sort single words several times faster than `argsort` sorts pairs.
  """
  size = x.shape[0]
  low = max(size - 1, 1).bit_length()
  place = jnp.arange(size, dtype=jnp.uint32)
  mask = lambda n: jnp.uint32(2**n - 1)
  for shift in range(0, bits, 32 - low):
    digit = (x[order] >> jnp.uint32(shift)) & mask(32 - low)
    packed = jnp.sort((digit << jnp.uint32(low)) | place)
    order = order[packed & mask(low)]
  return order
