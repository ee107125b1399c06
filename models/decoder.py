"""One decoder for Llama, Qwen2 and Qwen3, with and without a cache.

Axes, beside those of rlx/batch.py:
  N query heads   K key/value heads   G = N / K   H head_dim   F mlp_dim
  C tokens of a chunk   S slots of a cache that are looked at

Query, key and value are one product, as are gate and up: `qkv` is laid out
[D, K, G + 2, H] (each key/value head's G queries, its key, its value), so that
sharding over K keeps a head's parts together; `gate_up` is [D, 2, F].
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from rlx.models import attention, linear, rope
from rlx.models import config as config_lib

LayerCache = tuple[Array, Array]  # Keys and values; see `attention`.


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

  def setup(self) -> None:
    c = self.config
    narrow = c.init_std / (2 * c.num_layers) ** 0.5
    parts = (c.num_kv_heads, c.queries_per_kv + 2, c.head_dim)
    heads = ("kv_heads", None, "head_dim")
    self.attention_norm = self._ones("attention_norm", c.embed_dim)
    self.qkv = self._normal(
      *("qkv", (c.embed_dim, *parts), ("embed", *heads), c.init_std)
    )
    if c.qkv_bias:
      zeros = nn.with_logical_partitioning(nn.initializers.zeros, heads)
      self.qkv_bias = self.param("qkv_bias", zeros, parts)
    if c.qk_norm:
      self.q_norm = self._ones("q_norm", c.head_dim)
      self.k_norm = self._ones("k_norm", c.head_dim)
    self.out = self._normal(
      "out",
      (c.embed_dim, c.num_heads, c.head_dim),
      ("embed", "heads", "head_dim"),
      narrow,
    )
    self.mlp_norm = self._ones("mlp_norm", c.embed_dim)
    self.gate_up = self._normal(
      *("gate_up", (c.embed_dim, 2, c.mlp_dim)),
      *(("embed", None, "mlp"), c.init_std),
    )
    self.down = self._normal(
      *("down", (c.embed_dim, c.mlp_dim), ("embed", "mlp"), narrow)
    )

  def _normal(self, name, shape, axes, std) -> Array:
    init = nn.with_logical_partitioning(nn.initializers.normal(std), axes)
    return self.param(name, init, shape)

  def _ones(self, name, size) -> Array:
    init = nn.with_logical_partitioning(nn.initializers.ones, ("norm",))
    return self.param(name, init, (size,))

  def __call__(self, hidden, cos, sin, visible):
    """The whole rows at once; returns (hidden, None) as a scan expects."""
    query, key, value = self._project(hidden, cos, sin)
    hidden += self._merge(attention.attend(query, key, value, visible))
    return hidden + self._mlp(hidden), None

  def extend(self, hidden, cos, sin, visible, cache: LayerCache, positions):
    """A chunk against the cache; returns (hidden, cache with the chunk)."""
    query, key, value = self._project(hidden, cos, sin)
    rows = jnp.arange(positions.shape[0])[:, None]
    keys, values = cache
    keys = keys.at[rows, :, :, positions].set(
      key, mode="drop", unique_indices=True
    )
    values = values.at[rows, :, positions].set(
      value, mode="drop", unique_indices=True
    )
    _, chunk, window = visible.shape
    if window == chunk:  # Nothing comes before the chunk.
      seen = attention.attend(query, key, value, visible)
    else:
      seen = attention.attend_cached(
        *(query, keys[..., :window], values[:, :, :window], visible)
      )
    hidden += self._merge(seen)
    return hidden + self._mlp(hidden), (keys, values)

  def _project(self, hidden, cos, sin):
    """Rotated queries [B C K G H], rotated keys and values [B C K H]."""
    c = self.config
    x = rms_norm(hidden, self.attention_norm, c.norm_eps)
    # A matrix: backwards, XLA would copy a weight that is summed over two axes.
    matrix = self.qkv.reshape(c.embed_dim, -1)
    parts = linear.read(x, matrix).reshape(*x.shape[:2], *self.qkv.shape[1:])
    if c.qkv_bias:
      parts += self.qkv_bias[None, None].astype(x.dtype)
    group = c.queries_per_kv
    query, key = parts[..., :group, :], parts[..., group, :]
    if c.qk_norm:
      query = rms_norm(query, self.q_norm, c.norm_eps)
      key = rms_norm(key, self.k_norm, c.norm_eps)
    query, key = rope.rotate(query, cos, sin), rope.rotate(key, cos, sin)
    return query, key, parts[..., group + 1, :]

  def _merge(self, seen):
    matrix = self.out.reshape(self.config.embed_dim, -1)  # As in _project.
    return linear.write(seen.reshape(*seen.shape[:2], -1), matrix)

  def _mlp(self, hidden):
    x = rms_norm(hidden, self.mlp_norm, self.config.norm_eps)
    gated = linear.swiglu(linear.read(x, self.gate_up))
    return linear.write(gated, self.down)


class Decoder(nn.Module):
  """Embedding, blocks, final norm and head."""

  config: config_lib.DecoderConfig

  def setup(self) -> None:
    c = self.config
    table = nn.with_logical_partitioning(
      nn.initializers.normal(c.init_std), ("vocab", "embed")
    )
    self.embed = self.param("embed", table, (c.vocab_size, c.embed_dim))
    if not c.tied_embeddings:
      self.head = self.param("head", table, (c.vocab_size, c.embed_dim))
    ones = nn.with_logical_partitioning(nn.initializers.ones, ("norm",))
    self.final_norm = self.param("final_norm", ones, (c.embed_dim,))
    block = Block
    if c.remat == "block":
      block = nn.remat(Block, prevent_cse=c.layers != "scan")
    if c.layers == "scan":
      stack = nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=nn.broadcast,
        length=c.num_layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
      )
      self.layers = stack(c)
    else:
      self.layers = [block(c) for _ in range(c.num_layers)]

  def __call__(
    self,
    tokens: Int[Array, "B L"],
    positions: Int[Array, "B L"],
    segments: Int[Array, "B L"],
  ) -> Float[Array, "B L D"]:
    """Final features; see `rlx.policy.Policy.apply`."""
    hidden = self._embed(tokens)
    cos, sin = rope.tables(positions, self.config)
    visible = causal(segments)
    if self.config.layers == "scan":
      hidden, _ = self.layers(hidden, cos, sin, visible)
    else:
      for block in self.layers:
        hidden, _ = block(hidden, cos, sin, visible)
    return rms_norm(hidden, self.final_norm, self.config.norm_eps)

  def extend(
    self,
    cache: tuple[LayerCache, ...],
    tokens: Int[Array, "B C"],
    positions: Int[Array, "B C"],
    window: int,
  ) -> tuple[Float[Array, "B C D"], tuple[LayerCache, ...]]:
    """Final features of a chunk, and the cache with it written in."""
    hidden = self._embed(tokens)
    cos, sin = rope.tables(positions, self.config)
    window = self._window(cache, tokens.shape[1], window)
    visible = jnp.arange(window)[None, None] <= positions[..., None]
    params, new = self.variables["params"], []
    block = Block(self.config, parent=None)
    for index, layer_cache in enumerate(cache):
      hidden, layer_cache = block.apply(
        {"params": layer(params, index)},
        *(hidden, cos, sin, visible, layer_cache, positions),
        method=Block.extend,
      )
      new.append(layer_cache)
    hidden = rms_norm(hidden, self.final_norm, self.config.norm_eps)
    return hidden, tuple(new)

  def _window(self, cache, chunk: int, window: int) -> int:
    """How many slots to read: a slice is a copy, so not for little."""
    length = cache[0][1].shape[2]
    if chunk == 1 and 3 * window > length:
      return length
    return min(window, length)

  def logits(self, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
    """Float32 scores of the next token."""
    table = self.embed if self.config.tied_embeddings else self.head
    return jnp.einsum(
      "...d,vd->...v",
      hidden,
      table.astype(hidden.dtype),
      preferred_element_type=jnp.float32,
    )

  def _embed(self, tokens):
    # Gathered before it is rounded: the gradient is summed in float32.
    return self.embed[tokens].astype(self.config.dtype)


def layer(params: Any, index: int) -> Any:
  """Layer `index`'s parameters, from a stack or from separate layers."""
  if "layers" in params:
    return jax.tree.map(lambda stack: stack[index], params["layers"])
  return params[f"layers_{index}"]


def causal(segments: Int[Array, "B L"]) -> Bool[Array, "B L L"]:
  """Key `j` is visible to query `i`: same segment and not after it.

  Padding is a segment like any other: it sees itself, so that no softmax is
  empty, and no other segment sees it.
  """
  index = jnp.arange(segments.shape[1])
  past = index[:, None] >= index[None, :]
  return (segments[:, :, None] == segments[:, None, :]) & past[None]


def init_cache(
  config: config_lib.DecoderConfig, rows: int, length: int
) -> tuple[LayerCache, ...]:
  """Zeros: per layer keys [rows, K, H, length], values [rows, K, length, H]."""
  heads, head_dim = config.num_kv_heads, config.head_dim
  zeros = lambda *shape: jnp.zeros((rows, heads, *shape), config.dtype)
  return tuple(
    (zeros(head_dim, length), zeros(length, head_dim))
    for _ in range(config.num_layers)
  )
