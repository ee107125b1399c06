"""One layer of a decoder: attention and MLP on a residual stream.

Axes, beside those of rlx/batch.py:
  N query heads   K key/value heads   G = N / K   H head_dim   F mlp_dim
  C tokens of a chunk

Query, key and value are one product, as are gate and up. `qkv` is laid out
[D, K, G + 2, H] (each key/value head's G queries, its key, its value), so that
a split over K keeps a head's parts together; `gate_up` is [D, 2, F].
"""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from rlx.models import attention, branches, flash, linear, paged, rope
from rlx.models import cache as cache_lib
from rlx.models import config as config_lib

STREAM = ("batch", "length", None)  # Logical axes of the residual stream.
# Fixes the placement of an activation, given its logical axes.
Constrain = Callable[[Array, tuple[str | None, ...]], Array]


def unconstrained(x: Array, axes: tuple[str | None, ...]) -> Array:
  """Leaves placement to the compiler."""
  del axes
  return x


def declarer(module: nn.Module) -> Callable[..., Any]:
  """Returns `(name, axes, shape, init=ones) -> value of a float32 parameter`.

  A first value depends on the initial key, the module's path and the name, not
  on what else there is: the keys that flax hands out count the parameters that
  came before, so here they are folded with the name instead.
  """
  rngs: Any = module.scope.rngs if module.scope else {}
  module_key = rngs["params"].as_jax_rng() if "params" in rngs else None

  def declare(name, axes, shape, init=nn.initializers.ones):
    def from_name(key, *args):
      # Without a key of ours, flax only asks for the shape.
      key = key if module_key is None else module_key
      return init(jax.random.fold_in(key, zlib.crc32(name.encode())), *args)

    boxed: Any = nn.with_logical_partitioning(from_name, axes)
    return module.param(name, boxed, shape)

  return declare


def rms_norm(
  x: Float[Array, "*B D"], scale: Float[Array, " D"], eps: float
) -> Float[Array, "*B D"]:
  """x / sqrt(mean(x^2) + eps) * scale, in float32, returned in x's dtype.

  Source: Zhang and Sennrich 2019, arXiv:1910.07467, Eq. 4.
  """
  wide = x.astype(jnp.float32)
  inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
  scale = jnp.expand_dims(scale, tuple(range(x.ndim - 1)))
  return (wide * inverse * scale).astype(x.dtype)


class Block(nn.Module):
  """Attention and MLP, each normalised before and added to the stream."""

  config: config_lib.DecoderConfig
  constrain: Constrain = unconstrained
  mesh: Mesh | None = None

  def setup(self) -> None:
    c, declare = self.config, declarer(self)
    wide = nn.initializers.normal(c.init_std)
    narrow = nn.initializers.normal(c.init_std / (2 * c.num_layers) ** 0.5)
    parts = (c.num_kv_heads, c.queries_per_kv + 2, c.head_dim)
    split = ("kv_heads", None, "head_dim")
    heads = (c.embed_dim, c.num_heads, c.head_dim)
    gates = (c.embed_dim, 2, c.mlp_dim)
    self.attention_norm = declare("attention_norm", ("norm",), (c.embed_dim,))
    self.qkv = declare("qkv", ("embed", *split), (c.embed_dim, *parts), wide)
    if c.qkv_bias:
      self.qkv_bias = declare("qkv_bias", split, parts, nn.initializers.zeros)
    if c.qk_norm:
      self.q_norm = declare("q_norm", ("norm",), (c.head_dim,))
      self.k_norm = declare("k_norm", ("norm",), (c.head_dim,))
    self.out = declare("out", ("embed", "heads", "head_dim"), heads, narrow)
    self.mlp_norm = declare("mlp_norm", ("norm",), (c.embed_dim,))
    self.gate_up = declare("gate_up", ("embed", None, "mlp"), gates, wide)
    self.down = declare(
      "down", ("embed", "mlp"), (c.embed_dim, c.mlp_dim), narrow
    )

  def __call__(
    self,
    hidden: Float[Array, "B L D"],
    cos: Float[Array, "B L h"],
    sin: Float[Array, "B L h"],
    visible: Bool[Array, "B L L"] | branches.Visible | flash.Rows,
  ) -> tuple[Float[Array, "B L D"], None]:
    """The stream after whole rows, and None, as a scan over layers expects."""
    query, key, value = self._project(hidden, cos, sin)
    seen = attention.attend(query, key, value, visible)
    return self._finish(hidden, seen), None

  def extend(
    self,
    hidden: Float[Array, "B C D"],
    cos: Float[Array, "B C h"],
    sin: Float[Array, "B C h"],
    cache: cache_lib.Cache,
    slots: Int[Array, "B C"],
    window: int,
    trunk: paged.Trunk | None = None,
    cut: Int[Array, " B"] | None = None,
  ) -> tuple[Float[Array, "B C D"], cache_lib.Cache]:
    """The stream after a chunk, and the cache with the chunk in `slots`."""
    query, key, value = self._project(hidden, cos, sin)
    cache = cache_lib.write(cache, key, value, slots, window)
    chunk = slots.shape[1]
    if window == chunk and trunk is None:  # Nothing comes before the chunk.
      visible = flash.rows(jnp.zeros_like(slots), self.config.dtype, self.mesh)
      if visible is None:
        visible = jnp.arange(chunk)[None, None] <= slots[..., None]
      seen = attention.attend(query, key, value, visible)
    else:
      pieces = cache[: cache_lib.below(cache, window)]
      seen = attention.attend_cached(query, pieces, slots, trunk, cut)
    return self._finish(hidden, seen), cache

  def _project(self, hidden, cos, sin):
    """Rotated queries [B C K G H], rotated keys and values [B C K H]."""
    c = self.config
    x = rms_norm(hidden, self.attention_norm, c.norm_eps)
    # A matrix: backwards, XLA would copy a weight that is summed over two axes.
    matrix = self.qkv.reshape(c.embed_dim, -1)
    parts = linear.read(x, matrix).reshape(*x.shape[:2], *self.qkv.shape[1:])
    heads = ("batch", "length", "kv_heads", None, "head_dim")
    parts = self.constrain(parts, heads)
    if c.qkv_bias:
      parts += self.qkv_bias[None, None].astype(x.dtype)
    group = c.queries_per_kv
    query, key = parts[..., :group, :], parts[..., group, :]
    if c.qk_norm:
      query = rms_norm(query, self.q_norm, c.norm_eps)
      key = rms_norm(key, self.k_norm, c.norm_eps)
    query, key = rope.rotate(query, cos, sin), rope.rotate(key, cos, sin)
    return query, key, parts[..., group + 1, :]

  def _finish(self, hidden, seen):
    """The stream after attention's output [B C K G H] and the MLP."""
    matrix = self.out.reshape(self.config.embed_dim, -1)  # As in _project.
    hidden += linear.write(seen.reshape(*seen.shape[:2], -1), matrix)
    hidden = self.constrain(hidden, STREAM)
    x = rms_norm(hidden, self.mlp_norm, self.config.norm_eps)
    both = linear.read(x, self.gate_up)
    both = self.constrain(both, ("batch", "length", None, "mlp"))
    hidden += linear.write(linear.swiglu(both), self.down)
    return self.constrain(hidden, STREAM)
