"""What the model says of the tokens of a micro-batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlx import policy
from rlx.objective import log_probs as scoring
from rlx.packing import arrays, shapes
from rlx.programs import tokens as tokens_lib

View = Int[Array, " N"] | arrays.Pack
Shape = int | shapes.Shape  # What is static of a view.
# (params, part, view, shape) -> log-probabilities, entropies and values.
Forward = Callable[..., tuple[Float[Array, "N L"], ...]]


def make(
  model: policy.Policy,
  value: policy.Value | None,
  temperature: float,
  logit_tokens: int,
) -> Forward:
  """Returns the forward pass: log-probabilities, entropies and values [N L].

  Of packs, the tokens that nobody chose have 0 in all three.
  """
  settings = {"temperature": temperature, "chunk_tokens": logit_tokens}

  def forward(params, part: tokens_lib.Batch, view: View, shape: Shape):
    if isinstance(view, arrays.Pack) and isinstance(shape, shapes.Shape):
      return _packed(model, settings, params["policy"], view, shape)
    return _plain(model, value, settings, params, part)

  return forward


def _plain(model, value, settings, params, part):
  tokens = part.rollout.tokens
  segments = part.rollout.valid.astype(jnp.int32)
  index = jnp.arange(tokens.shape[1], dtype=jnp.int32)
  positions = jnp.broadcast_to(index, tokens.shape)
  hidden = model.apply(params["policy"], tokens, positions, segments)
  log_probs, entropy = scoring.token_log_probs(
    model.logits, params["policy"], hidden, tokens, **settings
  )
  values = jnp.zeros_like(log_probs)
  if value is not None:
    values = value.apply(params["value"], tokens, positions, segments, hidden)
  return log_probs, entropy, values


def _packed(model, settings, params, pack: arrays.Pack, shape: shapes.Shape):
  hidden = model.apply(
    *(params, pack.tokens, pack.positions, pack.segments, pack.last),
    shape.layout,
  )
  hidden = _pick(hidden, pack.source)
  pair = scoring.target_log_probs(
    model.logits, params, hidden, pack.target, **settings
  )

  def by_token(x):
    # Slot M is that of the tokens that nobody chose.
    found = _pick(jnp.pad(x, ((0, 0), (0, 1))), pack.slot)
    return found.reshape(shape.packs * shape.rows, -1)

  log_probs, entropy = map(by_token, pair)
  return log_probs, entropy, jnp.zeros_like(log_probs)


@jax.vmap
def _pick(x, index):
  """Entries of each pack's own, so that packs split over devices stay there."""
  return x.at[index].get(mode="promise_in_bounds")


def score(
  forward: Forward,
  by_row: Any,
  replace: bool,
  params: Any,
  reference: Any,
  batch: tokens_lib.Batch,
  view: View,
  shape: Shape,
) -> tokens_lib.Batch:
  """Fills in what is known before the update; `replace`: old log-probs too."""
  part, put = cut(by_row, batch, view, shape)
  log_probs, _, values = forward(params, part, view, shape)
  old = batch.old_log_probs
  batch = dataclasses.replace(
    batch,
    old_log_probs=put(old, log_probs) if replace else old,
    old_values=put(batch.old_values, values),
  )
  if reference is not None:
    ref, _, _ = forward({**params, "policy": reference}, part, view, shape)
    batch = dataclasses.replace(
      batch, ref_log_probs=put(batch.ref_log_probs, ref)
    )
  return batch


def cut(
  by_row: Any, batch: tokens_lib.Batch, view: View, shape: Shape
) -> tuple[tokens_lib.Batch, Callable[[Array, Array], Array]]:
  """Returns the view's rows, and `(whole, part) -> whole` that writes to them."""
  packed = isinstance(view, arrays.Pack)
  rows = view.rows if packed else view
  length = batch.weights.shape[1] if isinstance(shape, shapes.Shape) else shape
  part = tokens_lib.cut(by_row, batch, rows, length)
  return part, lambda x, new: x.at[rows, :length].set(new, mode="drop")
