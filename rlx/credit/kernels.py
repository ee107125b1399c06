"""The three kernels that every step-level advantage is built from.

K1  keyed reductions: sum, mean, max, softmax, count over rows of equal key. A
    grouper is only an integer key, made by `group_ids` from any columns.
K2  `propagate`, the linear back-recursion of all ragged chains at once, and
    `fuse`, the same from the leaves of trees to their roots.
K3  pointwise maps, which need no function of their own.

All have static shapes, work under `jit`, and cost O(S), or O(S log S) where
columns have to be sorted. Keys stand in `0..S`; rows with key `S` are padding and
what they get means nothing. The key None puts all rows in one group, which is
then a plain reduction: exact to the last bits, and fast on accelerators.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, UInt

Key = Int[Array, " S"] | None


def group_ids(
  *columns: Num[Array, " S"], live: Bool[Array, " S"]
) -> Int[Array, " S"]:
  """Key of each row's group: rows agree in it if they agree in all columns.

  Without columns all live rows are one group. Rows that are not live get the
  key `S`, so they never join a group of live rows, whatever they hold.
  """
  size = live.shape[0]
  if not columns:
    ids = jnp.zeros(size, jnp.int32)
  elif len(columns) == 1 and jnp.issubdtype(columns[0].dtype, jnp.integer):
    ids = _ids_of_integers(columns[0], live)
  elif all(jnp.issubdtype(x.dtype, jnp.integer) for x in columns):
    # Scatters are slow on TPUs, and sorts are slow everywhere else.
    ids = jax.lax.platform_dependent(
      *columns,
      tpu=dense_ids,
      default=lambda *columns: _first_rows(columns, live),
    )
  else:
    ids = dense_ids(*columns)
  return jnp.where(live, ids, size)


def _first_rows(
  columns: Sequence[Int[Array, " S"]], live: Bool[Array, " S"]
) -> Int[Array, " S"]:
  """The first live row that agrees with each live row, without a sort.

  Rows are hashed into a table, where the first to come owns its slot and all
  that agree with it take its number; the others go on with another hash. Every
  round settles one group a slot, so this ends, and does so after a few.
  """
  size = live.shape[0]
  bits = max(size - 1, 1).bit_length() + 1
  rows = jnp.arange(size, dtype=jnp.int32)

  def settle(carry):
    seed, ids, open_ = carry
    slot = _hash(columns, seed) >> jnp.uint32(32 - bits)
    slot = jnp.where(open_, slot.astype(jnp.int32), 1 << bits)
    owners = jnp.full((1 << bits) + 1, size - 1, jnp.int32)
    owner = owners.at[slot].min(rows)[slot]
    agrees = open_
    for column in columns:
      agrees = agrees & (column[owner] == column)
    ids = jnp.where(agrees, owner, ids)
    return seed + jnp.uint32(1), ids, open_ & ~agrees

  start = jnp.uint32(0), jnp.full(size, size, jnp.int32), live
  return jax.lax.while_loop(lambda carry: jnp.any(carry[2]), settle, start)[1]


def _hash(
  columns: Sequence[Int[Array, " S"]], seed: UInt[Array, ""]
) -> UInt[Array, " S"]:
  """32 mixed bits of each row; murmur3's finaliser after each column."""
  h = jnp.full(columns[0].shape, seed * jnp.uint32(0x9E3779B1))
  for column in columns:
    h = h ^ column.astype(jnp.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
      h = (h ^ (h >> jnp.uint32(shift))) * jnp.uint32(factor)
    h = h ^ (h >> jnp.uint32(16))
  return h


def dense_ids(*columns: Num[Array, " S"]) -> Int[Array, " S"]:
  """Ranks of the distinct tuples in `columns`, from 0, by sorting."""
  order = jnp.lexsort(columns[::-1])
  ordered = [column[order] for column in columns]
  changes = jnp.zeros(order.shape[0], bool)
  for column in ordered:
    changes = changes.at[1:].max(column[1:] != column[:-1])
  ranks = jnp.cumsum(changes, dtype=jnp.int32)
  return jnp.zeros_like(ranks).at[order].set(ranks)


def _ids_of_integers(
  column: Int[Array, " S"], live: Bool[Array, " S"]
) -> Int[Array, " S"]:
  """Dense ids without the sort where the numbers span less than `S`."""
  size = column.shape[0]
  low = jnp.min(jnp.where(live, column, jnp.iinfo(column.dtype).max))
  # Unsigned, because the span of arbitrary hashes overflows a signed integer.
  offset = (column - low).astype(jnp.uint32)
  return jax.lax.cond(
    jnp.all((offset < size) | ~live),
    lambda: offset.astype(jnp.int32),
    lambda: dense_ids(column),
  )


def keyed_sum(x: Float[Array, " S"], key: Key) -> Float[Array, " S"]:
  """Sum of `x` over the rows of each row's key. Padding must hold zeros."""
  if key is None:
    return jnp.broadcast_to(jnp.sum(x), x.shape)
  return jax.ops.segment_sum(x, key, x.shape[0] + 1)[key]


def keyed_sums(
  key: Key, *columns: Float[Array, " S"]
) -> tuple[Float[Array, " S"], ...]:
  """`keyed_sum` of several columns, for little more than the price of one."""
  if key is None:
    return tuple(keyed_sum(x, None) for x in columns)
  table = jnp.stack(columns, axis=1)
  sums = jax.ops.segment_sum(table, key, table.shape[0] + 1)[key]
  return tuple(sums[:, i] for i in range(len(columns)))


def keyed_mean(
  x: Float[Array, " S"], key: Key, vote: Float[Array, " S"]
) -> Float[Array, " S"]:
  """Mean of `x` over the rows of each row's key, weighted by `vote`.

  Zero where the votes of a key sum to nothing. Padding must have no vote.
  """
  return _divide(*keyed_sums(key, vote * x, vote))


def keyed_max(x: Float[Array, " S"], key: Key) -> Float[Array, " S"]:
  """Largest `x` of each row's key. Without a key padding must hold -inf."""
  if key is None:
    return jnp.broadcast_to(jnp.max(x), x.shape)
  return jax.ops.segment_max(x, key, x.shape[0] + 1)[key]


def keyed_softmax(
  x: Float[Array, " S"], key: Key, vote: Float[Array, " S"]
) -> Float[Array, " S"]:
  """vote * exp(x) as a fraction of its sum over the rows of each row's key.

  Zero in padding, which must have no vote.
  """
  voting = vote > 0
  top = keyed_max(jnp.where(voting, x, -jnp.inf), key)
  e = vote * jnp.exp(jnp.where(voting, x - jax.lax.stop_gradient(top), 0.0))
  return _divide(e, keyed_sum(e, key))


def propagate(
  r: Float[Array, " S"], c: Float[Array, " S"]
) -> Float[Array, " S"]:
  """y of the back-recursion y[t] = r[t] + c[t] * y[t + 1].

  With c = 0 on the last row of every chain, one call serves all ragged chains
  of a table. A row with r = 0 and c = 1 is transparent: what comes from behind
  it passes through it.
  """

  def combine(later, earlier):
    c_later, y_later = later
    c_row, r_row = earlier
    return c_later * c_row, r_row + c_row * y_later

  return jax.lax.associative_scan(combine, (c, r), reverse=True)[1]


def fuse(
  x: Float[Array, " S"],
  parent: Int[Array, " S"],
  depth: Int[Array, " S"],
  *,
  max_depth: int,
  r: Float[Array, " S"] | float = 0.0,
  c: Float[Array, " S"] | float = 1.0,
  how: Literal["mean", "sum", "max"] = "mean",
  vote: Float[Array, " S"] | None = None,
) -> Float[Array, " S"]:
  """y of a tree: x at a leaf, r + c * reduce(y of the children) at a node.

  `vote` weighs a child in the mean and the sum. A row with vote 0 does not
  exist for its parent; so may padding be left out. A chain is the tree in which
  every node has one child, and there this equals `propagate`.

  Args:
    parent: row of the parent, -1 at a root.
    depth: distance from the root; one reduction is made for each of
      `max_depth` levels, which is static.
  """
  size = x.shape[0]
  vote = jnp.ones_like(x) if vote is None else vote
  child = (parent >= 0) & (vote > 0)
  key = jnp.where(child, parent, size)
  votes = jax.ops.segment_sum(vote, key, size + 1)[:size]
  deepest = jnp.max(jnp.where(child, depth, 0))

  def reduce(y, at):
    if how == "max":
      top = jax.ops.segment_max(y, at, size + 1)[:size]
      return jnp.where(jnp.isfinite(top), top, 0.0)
    total = jax.ops.segment_sum(vote * y, at, size + 1)[:size]
    return total if how == "sum" else _divide(total, votes)

  def level(y, d):
    # The children of a node are all of one depth.
    node = (votes > 0) & (depth == d - 1)
    children = reduce(y, jnp.where(depth == d, key, size))
    return jnp.where(node, r + c * children, y)

  def step(y, d):
    # Trees are rarely as deep as they might be.
    return jax.lax.cond(d <= deepest, level, lambda y, _: y, y, d), None

  depths = jnp.arange(max_depth, 0, -1, dtype=depth.dtype)
  return jax.lax.scan(step, x, depths)[0]


def _divide(total, count):
  """total / count, and 0 where the count is 0, in value and gradient."""
  return jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0.0)
