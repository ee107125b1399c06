"""One decoder for Llama, Qwen2 and Qwen3, with and without a cache."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from rlx.models import block, branches, flash, linear, pages, rope
from rlx.models import cache as cache_lib
from rlx.models import config as config_lib


class Decoder(nn.Module):
  """Embedding, layers, final norm and head."""

  config: config_lib.DecoderConfig
  constrain: block.Constrain = block.unconstrained
  mesh: Mesh | None = None

  def setup(self) -> None:
    c, declare = self.config, block.declarer(self)
    shape, axes = (c.vocab_size, c.embed_dim), ("vocab", "embed")
    normal = nn.initializers.normal(c.init_std)
    self.embed = declare("embed", axes, shape, normal)
    if not c.tied_embeddings:
      self.head = declare("head", axes, shape, normal)
    self.final_norm = declare("final_norm", ("norm",), (c.embed_dim,))
    make: Any = block.Block
    if c.remat == "block":
      make = nn.remat(make, prevent_cse=c.layers != "scan")
    if c.layers == "unroll":
      self.layers: Any = [
        make(c, self.constrain, self.mesh) for _ in range(c.num_layers)
      ]
      return
    every_layer: Any = nn.broadcast
    stack = nn.scan(
      make,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=every_layer,
      length=c.num_layers,
      metadata_params={nn.PARTITION_NAME: "layers"},
    )
    self.layers = stack(c, self.constrain, self.mesh)

  def __call__(
    self,
    tokens: Int[Array, "B L"],
    positions: Int[Array, "B L"],
    segments: Int[Array, "B L"],
    last: Int[Array, "B L"] | None = None,
    layout: tuple[int, int, int] | None = None,
  ) -> Float[Array, "B L D"]:
    """Final features; see `rlx.policy.Policy.apply`."""
    hidden = self._embed(tokens)
    cos, sin = rope.tables(positions, self.config)
    visible = None
    if last is None and layout is None:
      visible = flash.rows(segments, self.config.dtype, self.mesh)
    if visible is None:
      visible = branches.visible(segments, last, layout)
    unrolled = self.config.layers == "unroll"
    for layer in self.layers if unrolled else [self.layers]:
      hidden, _ = layer(hidden, cos, sin, visible)
    return block.rms_norm(hidden, self.final_norm, self.config.norm_eps)

  def extend(
    self,
    cache: tuple[cache_lib.Cache, ...],
    tokens: Int[Array, "B C"],
    positions: Int[Array, "B C"],
    window: int,
    trunk: pages.Trunk | None = None,
    cut: Int[Array, " B"] | None = None,
  ) -> tuple[Float[Array, "B C D"], tuple[cache_lib.Cache, ...]]:
    """Final features of a chunk, and the cache with it written in.

    See `rlx.policy.Policy.extend`. A window of C says that the chunk stands at
    positions 0 to C - 1, and nothing is read from the cache.
    """
    hidden = self._embed(tokens)
    cos, sin = rope.tables(positions, self.config)
    one = block.Block(self.config, self.constrain, self.mesh, parent=None)
    slots = positions if cut is None else positions - cut[:, None]
    params, new = self.variables["params"], []
    # Not a scan: the cache would be copied from its input to its output.
    for index, layer_cache in enumerate(cache):
      hidden, layer_cache = one.apply(
        {"params": layer_params(params, index)},
        *(hidden, cos, sin, layer_cache, slots, window),
        None if trunk is None else trunk[index],
        cut,
        method="extend",
      )
      new.append(layer_cache)
    hidden = block.rms_norm(hidden, self.final_norm, self.config.norm_eps)
    return hidden, tuple(new)

  def logits(self, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
    """Float32 scores of the next token."""
    table = self.embed if self.config.tied_embeddings else self.head
    table = table.astype(hidden.dtype)
    width = (hidden.ndim - 1,)
    return linear.dot(hidden, table, width, (1,), dtype=jnp.float32)

  def _embed(self, tokens):
    # Gathered before it is rounded: the gradient is summed in float32.
    table = self.constrain(self.embed, ("vocab", None))
    hidden = table[tokens].astype(self.config.dtype)
    return self.constrain(hidden, block.STREAM)


def layer_params(params: Any, index: int) -> Any:
  """Layer `index`'s parameters, from a stack or from separate layers."""
  if "layers" in params:
    return jax.tree.map(lambda stack: stack[index], params["layers"])
  return params[f"layers_{index}"]


def init_cache(
  config: config_lib.DecoderConfig, rows: int, length: int
) -> tuple[cache_lib.Cache, ...]:
  """An empty cache of every layer."""
  return tuple(
    cache_lib.init(config, rows, length) for _ in range(config.num_layers)
  )
