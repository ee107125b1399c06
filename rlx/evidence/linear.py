"""A linear function of the policy's features at each step, learnt online."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from rlx import batch
from rlx.evidence import chunks, provider

State = dict[str, Any]  # "params", "opt_state", and "count" of batches seen.


def features(
  context: provider.Context,
  params: Any,
  rollout: batch.Rollout,
  steps: batch.Steps,
  at: Literal["last", "before"],
) -> Float[Array, "S D"]:
  """The policy's final features of one token of each step, of unit length.

  That token is the last that was chosen in the step, or the one before the
  first that was chosen. 0 for a step that has no such token.
  """
  place = _places(rollout, chunks.chosen(rollout, steps), steps, at)
  parts = chunks.split(context, (rollout.tokens, rollout.valid, place))

  def add(table, part):
    tokens, valid, place = part
    hidden = chunks.features(context.model, params, tokens, valid)
    hidden = hidden.astype(jnp.float32).reshape(-1, hidden.shape[-1])
    return table.at[place.reshape(-1)].set(hidden, mode="drop"), None

  size = (steps.weight.shape[0], width(context, params))
  table, _ = jax.lax.scan(add, jnp.zeros(size), parts)
  norm = jnp.linalg.norm(table, axis=-1, keepdims=True)
  return table / jnp.maximum(norm, 1e-6)


def _places(
  rollout: batch.Rollout,
  mask: Bool[Array, "B L"],
  steps: batch.Steps,
  at: Literal["last", "before"],
) -> Int[Array, "B L"]:
  """The step whose token this is; the number of steps where it is none's."""
  size = steps.weight.shape[0]
  here = jnp.arange(mask.size, dtype=jnp.int32).reshape(mask.shape)
  step = jnp.where(mask, rollout.segment, size)
  most = jax.ops.segment_max if at == "last" else jax.ops.segment_min
  end = most(here.reshape(-1), step.reshape(-1), size + 1)
  place = jnp.where(mask & (here == end[step]), step, size)
  if at == "last":
    return place
  return jnp.pad(place[:, 1:], ((0, 0), (0, 1)), constant_values=size)


def width(context: provider.Context, params: Any) -> int:
  """The number of features of a token."""
  one = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  return jax.eval_shape(context.model.apply, params, one, one, one).shape[-1]


def init(transform: optax.GradientTransformation, size: int) -> State:
  """The state of a function that is 0 everywhere."""
  params = {"weight": jnp.zeros(size), "bias": jnp.zeros(())}
  opt_state = transform.init(params)
  return {"params": params, "opt_state": opt_state, "count": jnp.int32(0)}


def apply(params: Any, features: Float[Array, "S D"]) -> Float[Array, " S"]:
  """w . h + b of each step."""
  return features @ params["weight"] + params["bias"]


def fit(
  transform: optax.GradientTransformation,
  state: State,
  features: Float[Array, "S D"],
  loss: Callable[[Float[Array, " S"]], Float[Array, ""]],
  updates: int,
  learn: Bool[Array, ""],
) -> State:
  """The state after some steps down a loss of the function's values.

  Unless `learn`, and where the result is not finite, only `count` changes.
  """

  def one(_, carry):
    params, opt_state = carry
    grads = jax.grad(lambda p: loss(apply(p, features)))(params)
    change, opt_state = transform.update(grads, opt_state, params)
    return optax.apply_updates(params, change), opt_state

  old = (state["params"], state["opt_state"])
  new = jax.lax.fori_loop(0, updates, one, old)
  good = learn & jnp.isfinite(optax.tree_utils.tree_norm(new[0]))
  params, opt_state = jax.tree.map(lambda x, y: jnp.where(good, x, y), new, old)
  count = state["count"] + 1
  return {"params": params, "opt_state": opt_state, "count": count}
