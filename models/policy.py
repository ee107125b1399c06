"""Decoders as `rlx.policy.Policy` and `rlx.policy.Value`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from rlx import policy
from rlx.models import block, decoder, pages, place
from rlx.models import config as config_lib


def make_policy(
  config: config_lib.DecoderConfig,
  constrain: block.Constrain = block.unconstrained,
  mesh: Mesh | None = None,
) -> policy.Policy:
  """A decoder's pure functions, axes and vocabulary.

  Args:
    constrain: `(activation, logical axes) -> activation`, which fixes its
      placement on a mesh. Needed for speed where parameters are split, not for
      correctness: left alone, the partitioner splits the stream by its width
      wherever the parameters are, and gathers activations in every layer.
    mesh: of the devices that it runs on, which need not be here: they have
      kernels, see `rlx.models.place`. None: nothing but XLA's operations.
  """
  module = decoder.Decoder(config, constrain, mesh)

  def apply(params, tokens, positions, segments, last=None, layout=None):
    return module.apply(
      {"params": params}, tokens, positions, segments, last, layout
    )

  def logits(params, hidden):
    return module.apply({"params": params}, hidden, method="logits")

  def extend(params, cache, *args, **kwargs):
    return module.apply(
      *({"params": params}, cache, *args), method="extend", **kwargs
    )

  def prepare(params):
    params = _rounded(params, config.dtype)
    # A slice of a stack is a copy on a CPU, and else made in every step.
    if "layers" not in params or place.platform(mesh) != "cpu":
      return params
    rest = {name: x for name, x in params.items() if name != "layers"}
    layers = range(config.num_layers)
    return rest | {
      f"layers_{i}": decoder.layer_params(params, i) for i in layers
    }

  return policy.Policy(
    init=functools.partial(_init, module),
    apply=apply,
    logits=logits,
    init_cache=functools.partial(decoder.init_cache, config),
    extend=extend,
    init_pages=functools.partial(pages.init, config),
    load=functools.partial(pages.load, mesh=mesh),
    store=pages.store,
    axes=_axes(module),
    vocab_size=config.vocab_size,
    prepare=prepare,
  )


def make_value(
  config: config_lib.DecoderConfig,
  *,
  own_network: bool = False,
  constrain: block.Constrain = block.unconstrained,
  mesh: Mesh | None = None,
) -> policy.Value:
  """A state value: a linear head on features, 0 everywhere when fresh.

  Args:
    config: Of the policy, or of the value's own network.
    own_network: The features are those of a decoder of its own, and the trunk's
      are ignored; else they are the trunk's, through which gradients flow: stop
      them outside if that is not wanted.
    constrain, mesh: As of `make_policy`.
  """
  features = decoder.Decoder(config, constrain, mesh) if own_network else None

  def init(key):
    head = {"weight": jnp.zeros(config.embed_dim), "bias": jnp.zeros(())}
    if features is None:
      return {"head": head}
    return {"head": head, "network": _init(features, key)}

  def apply(params, tokens, positions, segments, trunk_hidden):
    hidden: Any = trunk_hidden
    if features is not None:
      own = {"params": params["network"]}
      hidden = features.apply(own, tokens, positions, segments)
    scores = jnp.einsum(
      "bld,d->bl", hidden.astype(jnp.float32), params["head"]["weight"]
    )
    return _before(scores, segments) + params["head"]["bias"]

  axes: dict[str, Any] = {"head": {"weight": ("embed",), "bias": ()}}
  if features is not None:
    axes["network"] = _axes(features)
  return policy.Value(init=init, apply=apply, axes=axes)


def _before(
  scores: Float[Array, "B L"], segments: Int[Array, "B L"]
) -> Float[Array, "B L"]:
  """The previous token's score; 0 at the first token of a segment.

  Entry `t` is thus computed from tokens before `t` only.
  """
  shift = ((0, 0), (1, 0))
  previous = jnp.pad(segments[:, :-1], shift, constant_values=-1)
  same = segments == previous
  return jnp.where(same, jnp.pad(scores[:, :-1], shift), 0.0)


def _rounded(params: Any, dtype: str) -> Any:
  """Rounds weights to the dtype in which every use rounds them: a step of a
  loop then reads them in that. Norms are computed in float32 and stay."""
  if jnp.dtype(dtype).itemsize >= jnp.dtype(jnp.float32).itemsize:
    return params

  def leaf(path, x):
    return x if path[-1].key.endswith("norm") else x.astype(dtype)

  return jax.tree_util.tree_map_with_path(leaf, params)


def _init(module: decoder.Decoder, key: Array) -> Any:
  tokens = jnp.zeros((1, 1), jnp.int32)
  return nn.unbox(module.init(key, tokens, tokens, tokens)["params"])


def _axes(module: decoder.Decoder) -> Any:
  """Tree like the parameters, of tuples of logical axis names."""
  tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  boxed = jax.eval_shape(module.init, jax.random.key(0), *[tokens] * 3)
  return jax.tree.map(
    lambda box: tuple(box.names),
    boxed["params"],
    is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned),
  )
