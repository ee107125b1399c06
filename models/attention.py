"""Attention of queries on visible keys: the one place that picks a kernel.

A cache keeps keys as [rows, K, H, length] and values as [rows, K, length, H]:
what the two products of decoding read without a transposition. On a CPU that
makes a decoding step's attention three times as fast as [rows, length, K, H].
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx.models import linear


def attend(
  query: Float[Array, "B C K G H"],
  key: Float[Array, "B S K H"],
  value: Float[Array, "B S K H"],
  visible: Bool[Array, "B C S"],
) -> Float[Array, "B C K G H"]:
  """Each query's mean of the visible values, weighted by softmax in float32.

      softmax_s(query · key_s / sqrt(H)) · value_s

  `G` query heads share each of the `K` key heads. A query must see at least one
  key: padding sees itself.
  """
  return jax.lax.platform_dependent(
    *(query, key, value, visible), cpu=_attend_cpu, default=_attend_library
  )


def attend_cached(
  query: Float[Array, "B C K G H"],
  keys: Float[Array, "B K H S"],
  values: Float[Array, "B K S H"],
  visible: Bool[Array, "B C S"],
) -> Float[Array, "B C K G H"]:
  """As `attend`, with keys and values in the layout of a cache."""
  scale = query.shape[-1] ** -0.5
  query = jnp.transpose(query * scale, (0, 2, 3, 1, 4))
  weights, total = _softmax(_dot(query, keys, (4,), (2,)), visible)
  out = _dot(weights.astype(values.dtype), values, (4,), (2,)) / total
  return jnp.transpose(out, (0, 3, 1, 2, 4)).astype(values.dtype)


def _softmax(scores, visible):
  """Unnormalised weights of [B K G C S] scores, and their sums."""
  scores = jnp.where(visible[:, None, None], scores, -1e30)
  weights = jnp.exp(scores - scores.max(-1, keepdims=True))
  return weights, weights.sum(-1, keepdims=True)


def _attend_cpu(query, key, value, visible):
  scale = query.shape[-1] ** -0.5
  out = _core(
    jnp.transpose(query * scale, (0, 2, 3, 1, 4)),
    jnp.swapaxes(key, 1, 2),
    jnp.swapaxes(value, 1, 2),
    visible,
  )
  return jnp.transpose(out, (0, 3, 1, 2, 4))


@jax.custom_vjp
def _core(query, key, value, visible):
  """[B K G C H], [B K S H], [B K S H], [B C S] -> [B K G C H]."""
  return _core_forward(query, key, value, visible)[0]


def _dot(left, right, left_axes, right_axes):
  return linear.dot(
    *(left, right, left_axes, right_axes), batch_axes=(0, 1), dtype=jnp.float32
  )


def _core_forward(query, key, value, visible):
  weights, total = _softmax(_dot(query, key, (4,), (3,)), visible)
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
  # The place for Pallas kernels (splash attention on TPU) when shapes allow.
  rows, chunk, kv_heads, group, head_dim = query.shape
  flat = query.reshape(rows, chunk, kv_heads * group, head_dim)
  out = jax.nn.dot_product_attention(flat, key, value, mask=visible[:, None])
  return out.reshape(query.shape)
