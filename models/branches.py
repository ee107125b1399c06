"""Attention over rows that share: who sees whom, and branches of one trunk.

A row may hold a forest of nodes: `segments` numbers them in preorder, `last` is
the last number within a node's subtree. A token sees the tokens of its own node
and of those above it that stand before it in the row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx.models import linear


class Visible(NamedTuple):
  """Who sees whom in a row of T trunk columns and R branches of C columns.

  Attributes:
    trunk: a column of the trunk sees one of the trunk.
    above: a column of a branch sees one of the trunk.
    own: a column of a branch sees one of its own branch.
  """

  trunk: Bool[Array, "B T T"]
  above: Bool[Array, "B W T"]  # W = R * C
  own: Bool[Array, "B R C C"]


def visible(
  segments: Int[Array, "B L"],
  last: Int[Array, "B L"] | None = None,
  layout: tuple[int, int, int] | None = None,
) -> Bool[Array, "B L L"] | Visible:
  """Key `j` is visible to query `i`: on its path and not after it.

      j <= i  and  segments[j] <= segments[i] <= last[j]

  Padding is a segment like any other: it sees itself, so that no softmax is
  empty, and no other segment sees it.

  Args:
    last: None for `segments`: then nobody has anybody above.
    layout: see `rlx.policy.Policy.apply`.
  """
  last = segments if last is None else last
  if layout is None:
    return _inside(segments, last)
  trunk, branches, branch = layout
  rows = len(segments)
  above = _on_path(segments[:, trunk:], segments[:, :trunk], last[:, :trunk])
  fold = lambda x: x[:, trunk:].reshape(rows * branches, branch)
  own = _inside(fold(segments), fold(last))
  return Visible(
    trunk=_inside(segments[:, :trunk], last[:, :trunk]),
    above=above,
    own=own.reshape(rows, branches, branch, branch),
  )


def _inside(segments, last):
  index = jnp.arange(segments.shape[1])
  past = index[:, None] >= index[None, :]
  return _on_path(segments, segments, last) & past[None]


def _on_path(queries, keys, last):
  query = queries[:, :, None]
  return (keys[:, None] <= query) & (query <= last[:, None])


def attend(
  query: Float[Array, "B W K G H"],
  key: Float[Array, "B L K H"],
  value: Float[Array, "B L K H"],
  sees: Visible,
) -> Float[Array, "B W K G H"]:
  """Of the branches' columns, the mean of the values that they see.

  Queries are those of the branches only: all R branches are one product with
  the trunk's keys, and each is one with its own; the two parts of a softmax are
  merged by their maxima and sums.
  """
  rows, width = query.shape[:2]
  trunk, branches = sees.trunk.shape[1], sees.own.shape[1]
  # [B K R G C H]: for the trunk, the axes R, G and C are one.
  query = query * query.shape[-1] ** -0.5
  query = query.reshape(rows, branches, -1, *query.shape[2:])
  query = jnp.transpose(query, (0, 3, 1, 4, 2, 5))

  def split(x):
    above = jnp.swapaxes(x[:, :trunk], 1, 2)
    own = x[:, trunk:].reshape(rows, branches, -1, *x.shape[2:])
    return above, jnp.transpose(own, (0, 3, 1, 2, 4))

  keys, values = split(key), split(value)
  above = sees.above.reshape(rows, 1, branches, 1, -1, trunk)
  own = sees.own[:, None, :, None]
  out = _core(query, keys, values, above, own)
  out = jnp.transpose(out, (0, 2, 4, 1, 3, 5))
  return out.reshape(rows, width, *out.shape[3:])


@jax.custom_vjp
def _core(query, keys, values, above, own):
  """[B K R G C H], pairs of [B K T H] and [B K R C H], masks -> as query."""
  return _forward(query, keys, values, above, own)[0]


def _forward(query, keys, values, above, own):
  far = jnp.where(above, _far(query, keys[0], (3,)), -1e30)
  near = jnp.where(own, _near(query, keys[1], (4,)), -1e30)
  top = lambda x: x.max(-1, keepdims=True)
  largest = jnp.maximum(top(far), top(near))
  far, near = jnp.exp(far - largest), jnp.exp(near - largest)
  total = far.sum(-1, keepdims=True) + near.sum(-1, keepdims=True)
  dtype = values[0].dtype
  far, near = far.astype(dtype), near.astype(dtype)
  out = _far(far, values[0], (2,)) + _near(near, values[1], (3,))
  out = (out / total).astype(dtype)
  return out, (query, keys, values, far, near, total, out)


def _backward(saved, to_out):
  # As models/attention.py: weights stay unnormalised, and each product that
  # transposes an operand has the narrow one there.
  query, keys, values, far, near, total, out = saved
  dtype = out.dtype
  to_out = to_out / total
  shared = (to_out * out).sum(-1, keepdims=True)
  to_out = to_out.astype(dtype)
  to_far = (far * (_far(to_out, values[0], (3,)) - shared)).astype(dtype)
  to_near = (near * (_near(to_out, values[1], (4,)) - shared)).astype(dtype)
  to_query = _far(to_far, keys[0], (2,)) + _near(to_near, keys[1], (3,))
  back = lambda narrow, wide_far, wide_near: (
    _far_sum(narrow, wide_far),
    _near_sum(narrow, wide_near),
  )
  to_keys = back(query, to_far, to_near)
  to_values = back(to_out, far, near)
  like = lambda new, old: jax.tree.map(lambda a, b: a.astype(b.dtype), new, old)
  return (
    to_query.astype(query.dtype),
    like(to_keys, keys),
    like(to_values, values),
    None,
    None,
  )


def _far(x, trunk, axis):
  """[B K R G C A] with the trunk's [B K ..]: R, G and C are one long axis."""
  flat = x.reshape(*x.shape[:2], -1, x.shape[-1])
  return _dot(flat, trunk, (3,), axis, (0, 1)).reshape(*x.shape[:-1], -1)


def _near(x, own, axis):
  """[B K R G C A] with each branch's own [B K R ..]."""
  flat = x.reshape(*x.shape[:3], -1, x.shape[-1])
  return _dot(flat, own, (4,), axis, (0, 1, 2)).reshape(*x.shape[:-1], -1)


def _far_sum(narrow, wide):
  flat = lambda x: x.reshape(*x.shape[:2], -1, x.shape[-1])
  out = _dot(flat(narrow), flat(wide), (2,), (2,), (0, 1))
  return jnp.swapaxes(out, 2, 3)


def _near_sum(narrow, wide):
  flat = lambda x: x.reshape(*x.shape[:3], -1, x.shape[-1])
  out = _dot(flat(narrow), flat(wide), (3,), (3,), (0, 1, 2))
  return jnp.swapaxes(out, 3, 4)


def _dot(left, right, left_axes, right_axes, batch_axes):
  return linear.dot(
    *(left, right, left_axes, right_axes),
    batch_axes=batch_axes,
    dtype=jnp.float32,
  )


_core.defvjp(_forward, _backward)
