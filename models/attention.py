"""Attention of queries on visible keys, in XLA's operations or in a kernel's."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx.models import branches, flash, linear, paged
from rlx.models import cache as cache_lib


def attend(
  query: Float[Array, "B L K G H"],
  key: Float[Array, "B L K H"],
  value: Float[Array, "B L K H"],
  visible: Bool[Array, "B L L"] | branches.Visible | flash.Rows,
) -> Float[Array, "B L K G H"]:
  """Each query's mean of the visible values, weighted by softmax in float32.

      softmax_s(query · key_s / sqrt(H)) · value_s

  `G` query heads share each of the `K` key heads.

  Args:
    visible: No query sees a key after itself, and each sees at least one key:
      padding sees itself.
  """
  if isinstance(visible, flash.Rows):
    return flash.attend(query, key, value, visible)
  if isinstance(visible, branches.Visible):
    trunk = visible.trunk.shape[1]
    first = lambda x: x[:, :trunk]
    above = attend(first(query), first(key), first(value), visible.trunk)
    below = branches.attend(query[:, trunk:], key, value, visible)
    return jnp.concatenate([above, below], axis=1)
  return jax.lax.platform_dependent(
    *(query, key, value, visible), cpu=_attend_cpu, default=_attend_library
  )


def attend_cached(
  query: Float[Array, "B C K G H"],
  pieces: cache_lib.Cache,
  slots: Int[Array, "B C"],
  trunk: paged.Trunk | None = None,
  cut: Int[Array, " B"] | None = None,
) -> Float[Array, "B C K G H"]:
  """As `attend`, of slots up to and with the query's own.

  With a trunk, of its first `cut` slots too; see `rlx.policy.Policy.extend`.
  """
  parts = [_attend_own(query, pieces, slots)]
  if trunk is not None and cut is not None:
    parts.append(_attend_trunk(query, trunk, cut))
  largest = functools.reduce(jnp.maximum, [part.largest for part in parts])
  out, total = 0.0, 0.0
  for part in parts:
    scale = jnp.exp(part.largest - largest)
    out, total = out + scale * part.out, total + scale * part.total
  return jnp.transpose(out / total, (0, 3, 1, 2, 4)).astype(query.dtype)


class _Part(NamedTuple):
  """Softmax over some of the keys, float32 [B K G C *], not yet divided.

  `out` and `total` are of weights exp(score - largest).
  """

  out: Array
  total: Array
  largest: Array


def _attend_own(query, pieces, slots) -> _Part:
  scale = query.shape[-1] ** -0.5
  query = jnp.transpose(query, (0, 2, 3, 1, 4))
  scores, start = [], 0
  for keys, _ in pieces:
    here = start + jnp.arange(keys.shape[-1])
    visible = here[None, None] <= slots[..., None]
    piece = _dot(query, keys, (4,), (2,)) * scale
    scores.append(jnp.where(visible[:, None, None], piece, -1e30))
    start += keys.shape[-1]
  return _soften(scores, pieces, 4)


def _attend_trunk(query, trunk, cut) -> _Part:
  """Rows that share a trunk are one product with its keys."""
  rows, chunk, heads, group, _ = query.shape
  trunks = paged.rows_of(trunk)
  fork = rows // trunks
  # [T R C K G H] -> [T K (R C G) H]
  query = query.reshape(trunks, fork, chunk, heads, group, -1)
  query = jnp.transpose(query, (0, 3, 1, 2, 4, 5))
  query = query.reshape(trunks, heads, fork * chunk * group, -1)
  until = jnp.repeat(cut.reshape(trunks, fork), chunk * group, axis=1)
  part = _attend_below(query, trunk, until)

  def by_row(x):
    x = x.reshape(trunks, heads, fork, chunk, group, -1)
    x = jnp.transpose(x, (0, 2, 1, 4, 3, 5))
    return x.reshape(rows, heads, group, chunk, -1)

  return _Part(*map(by_row, part))


def _attend_below(query, trunk, until) -> _Part:
  """Queries [T K Q H] on a trunk's slots below `until` [T Q]."""
  if isinstance(trunk, paged.Paged):
    return _Part(*paged.attend(query, trunk, until))
  scores, start = [], 0
  for keys, _ in trunk:
    here = start + jnp.arange(keys.shape[-1])
    visible = here[None, None] < until[..., None]
    piece = _dot(query, keys, (3,), (2,)) * query.shape[-1] ** -0.5
    scores.append(jnp.where(visible[:, None], piece, -1e30))
    start += keys.shape[-1]
  return _soften(scores, trunk, 3)


def _soften(scores, pieces, axis) -> _Part:
  largest = functools.reduce(
    jnp.maximum, [piece.max(-1, keepdims=True) for piece in scores]
  )
  weights = [jnp.exp(piece - largest) for piece in scores]
  total = sum(piece.sum(-1, keepdims=True) for piece in weights)
  out = sum(
    _dot(piece.astype(values.dtype), values, (axis,), (2,))
    for piece, (_, values) in zip(weights, pieces, strict=True)
  )
  return _Part(jnp.asarray(out), jnp.asarray(total), largest)


def _attend_cpu(query, key, value, visible):
  scale = query.shape[-1] ** -0.5
  query = jnp.transpose(query * scale, (0, 2, 3, 1, 4))
  key, value = jnp.swapaxes(key, 1, 2), jnp.swapaxes(value, 1, 2)
  # Long rows go part by part, each without the keys that come after it.
  length = visible.shape[1]
  step = length if length <= 256 else max(-(-length // 4), 128)
  out = [
    _core(
      query[:, :, :, start : start + step],
      key[:, :, : start + step],
      value[:, :, : start + step],
      visible[:, start : start + step, : start + step],
    )
    for start in range(0, length, step)
  ]
  return jnp.transpose(jnp.concatenate(out, axis=3), (0, 3, 1, 2, 4))


@jax.custom_vjp
def _core(query, key, value, visible):
  """[B K G C H], [B K S H], [B K S H], [B C S] -> [B K G C H]."""
  return _core_forward(query, key, value, visible)[0]


def _dot(left, right, left_axes, right_axes):
  return linear.dot(
    *(left, right, left_axes, right_axes), batch_axes=(0, 1), dtype=jnp.float32
  )


def _core_forward(query, key, value, visible):
  scores = _dot(query, key, (4,), (3,))
  scores = jnp.where(visible[:, None, None], scores, -1e30)
  weights = jnp.exp(scores - scores.max(-1, keepdims=True))
  total = weights.sum(-1, keepdims=True)
  weights = weights.astype(value.dtype)
  out = (_dot(weights, value, (4,), (2,)) / total).astype(value.dtype)
  return out, (query, key, value, weights, total, out)


def _core_backward(saved, to_out):
  # The weights stay unnormalised: their sum divides rows of H, not of S. Each
  # product has the narrow operand where one is transposed; derived
  # automatically, two products transpose all weights.
  query, key, value, weights, total, out = saved
  to_out = to_out / total
  shared = (to_out * out).sum(-1, keepdims=True)
  to_out = to_out.astype(value.dtype)
  to_weights = _dot(to_out, value, (4,), (3,))
  to_scores = (weights * (to_weights - shared)).astype(value.dtype)
  to_query = _dot(to_scores, key, (4,), (2,)).astype(query.dtype)
  to_key = _dot(query, to_scores, (2, 3), (2, 3)).astype(key.dtype)
  to_value = _dot(to_out, weights, (2, 3), (2, 3)).astype(value.dtype)
  swap = lambda x: jnp.swapaxes(x, 2, 3)
  return to_query, swap(to_key), swap(to_value), None


_core.defvjp(_core_forward, _core_backward)


def _attend_library(query, key, value, visible):
  rows, chunk, kv_heads, group, head_dim = query.shape
  flat = query.reshape(rows, chunk, kv_heads * group, head_dim)
  out = jax.nn.dot_product_attention(flat, key, value, mask=visible[:, None])
  return out.reshape(query.shape)
