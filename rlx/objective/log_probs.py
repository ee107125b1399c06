"""Log-probabilities and entropies of tokens, without `[B, L, V]` logits.

The shift by one is written here and nowhere else: what the model computed at
position t - 1 predicts token t, so entry t of a result describes `tokens[:, t]`
and entry 0, which nothing predicts, is 0.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Logits of one chunk unless told otherwise: 128 MB of float32.
CHUNK_LOGITS = 2**25

# Stands for -inf, so that 0 * log(0) is 0.
LOWEST = -1e30

Pair = tuple[Float[Array, "B L"], Float[Array, "B L"]]


def token_log_probs(
  logits_fn: Callable[[Any, Array], Array],
  params: Any,
  hidden: Float[Array, "B L D"],
  tokens: Int[Array, "B L"],
  *,
  temperature: float | Float[Array, ""] = 1.0,
  mask: Bool[Array, "B L"] | None = None,
  chunk_tokens: int | None = None,
  max_chosen: int | None = None,
) -> Pair:
  """(log-probability of each token, entropy of where it was drawn), in nats.

  Both are of softmax(logits / temperature), in float32. The logits of a chunk
  of positions exist at a time, forwards, and again, recomputed, backwards. (If
  one chunk holds all, XLA may keep it, as nothing stands between the two.)

  Args:
    logits_fn: `(params, hidden[... D]) -> logits[... V]`, as `Policy.logits`.
    mask: tokens to score; others get 0, with no gradient, whatever stands in
      their `hidden`. None scores all but the first.
    temperature: of the sampler, a constant.
    chunk_tokens: about how many positions make a chunk. By default as many as
      have 2^25 logits. Chunks are cut along L, so that rows may be sharded.
    max_chosen: with `mask`, only so many positions per row are computed: for
      rows that are mostly observations. It must be at least the number of
      tokens that `mask` marks in any row; where a row has more, the result is
      NaN, never silently wrong.
  """
  if max_chosen is not None and mask is None:
    raise ValueError(f"max_chosen={max_chosen} needs a mask to choose by")
  targets = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
  scored = None
  if mask is not None:
    scored = jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
  head = lambda h: logits_fn(params, h)
  score = functools.partial(_score, head, temperature, chunk_tokens)
  if scored is None:
    pair = score(hidden, targets)
  elif max_chosen is None or max_chosen >= tokens.shape[1]:
    pair = score(jnp.where(scored[..., None], hidden, 0), targets)
    pair = tuple(jnp.where(scored, x, 0.0) for x in pair)
  else:
    pair = _score_chosen(score, hidden, targets, scored, max_chosen)
  log_probs, entropy = (jnp.pad(x[:, :-1], ((0, 0), (1, 0))) for x in pair)
  return log_probs, entropy


def target_log_probs(
  logits_fn: Callable[[Any, Array], Array],
  params: Any,
  hidden: Float[Array, "P M D"],
  targets: Int[Array, "P M"],
  *,
  temperature: float | Float[Array, ""] = 1.0,
  chunk_tokens: int | None = None,
) -> tuple[Float[Array, "P M"], Float[Array, "P M"]]:
  """As `token_log_probs`, of tokens beside the features that predict them.

  Entry m is of `targets[:, m]` under `hidden[:, m]`: nothing is shifted.
  """
  head = lambda h: logits_fn(params, h)
  return _score(head, temperature, chunk_tokens, hidden, targets)


def _score_chosen(score, hidden, targets, scored, max_chosen) -> Pair:
  """As `score` at the positions of `scored`, packed to the left of each row."""
  order = jnp.argsort(~scored, axis=-1, stable=True)[:, :max_chosen]
  present = jnp.take_along_axis(scored, order, axis=1)
  hidden = jnp.take_along_axis(hidden, order[..., None], axis=1)
  targets = jnp.take_along_axis(targets, order, axis=1)
  pair = score(jnp.where(present[..., None], hidden, 0), targets)
  rank = jnp.cumsum(scored, axis=-1) - 1
  within = jnp.clip(rank, 0, max_chosen - 1)

  def unpack(x):
    x = jnp.take_along_axis(x, within, axis=1)
    return jnp.where(scored, jnp.where(rank < max_chosen, x, jnp.nan), 0.0)

  return unpack(pair[0]), unpack(pair[1])


def _score(head, temperature, chunk_tokens, hidden, targets) -> Pair:
  """Log-probability of `targets` and entropy, each position on its own."""
  batch, length, _ = hidden.shape
  in_float32 = lambda h: head(h).astype(jnp.float32)
  if chunk_tokens is None:
    vocab = jax.eval_shape(head, hidden[0, :1]).shape[-1]
    chunk_tokens = max(CHUNK_LOGITS // vocab, 1)
  num = min(length, -(-batch * length // chunk_tokens))
  width = -(-length // num)
  pad = num * width - length
  hidden = jnp.pad(hidden, ((0, 0), (0, pad), (0, 0)))
  targets = jnp.pad(targets, ((0, 0), (0, pad)))
  inverse = 1 / jnp.asarray(temperature, jnp.float32)
  # Gradients are taken for what `head` closes over, and for no other parameter.
  example = hidden[:, :width].reshape(-1, hidden.shape[-1])
  head, closed_over = jax.closure_convert(in_float32, example)
  log_probs, entropy = _chunks(
    head, width, closed_over, hidden, targets, inverse
  )
  return log_probs[:, :length], entropy[:, :length]


def _primal(head, width, closed_over, hidden, targets, inverse) -> Pair:
  return _forward(head, width, closed_over, hidden, targets, inverse)[0]


def _forward(head, width, closed_over, hidden, targets, inverse):
  def chunk(start):
    logits = head(_rows(hidden, start, width), *closed_over)
    return _statistics(logits, _rows(targets, start, width), inverse)

  log_probs, entropy, normalizer = _map_chunks(chunk, hidden, width)
  saved = (closed_over, hidden, targets, inverse, entropy, normalizer)
  return (log_probs, entropy), saved


def _rows(x, start, width):
  """Positions from `start` on of all sequences, as one axis of rows.

  Products of matrices are several times faster on CPU than those of stacks.
  """
  x = jax.lax.dynamic_slice_in_dim(x, start, width, axis=1)
  return x.reshape(-1, *x.shape[2:])


def _statistics(logits, targets, inverse):
  """Log-probability, entropy and log of the normaliser, of [N V] logits.

  The temperature is applied within each pass: scaled logits are never stored.
  """
  top = jnp.max(logits, axis=-1)
  e = jnp.exp((logits - top[:, None]) * inverse)
  total = jnp.sum(e, axis=-1)
  normalizer = top * inverse + jnp.log(total)
  expected = jnp.sum(e * jnp.maximum(logits, LOWEST), axis=-1) / total
  chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
  entropy = normalizer - expected * inverse
  return chosen * inverse - normalizer, entropy, normalizer


def _map_chunks(f, hidden, width):
  """f of each chunk's first position, its rows joined to [B L]."""
  batch, length, _ = hidden.shape
  if length == width:
    return jax.tree.map(lambda x: x.reshape(batch, length), f(0))
  starts = jnp.arange(0, length, width)
  _, out = jax.lax.scan(lambda _, start: (None, f(start)), None, starts)
  join = lambda x: jnp.moveaxis(x.reshape(-1, batch, width), 0, 1)
  return jax.tree.map(lambda x: join(x).reshape(batch, length), out)


def _backward(head, width, saved, cotangents):
  closed_over, hidden, targets, inverse, entropy, normalizer = saved
  columns = (targets, entropy, normalizer, *cotangents)
  no_gradient = (None, jnp.zeros_like(inverse))  # Targets and temperature.

  def chunk(start):
    logits, pull = jax.vjp(head, _rows(hidden, start, width), *closed_over)
    columns_of = [_rows(x, start, width) for x in columns]
    d_hidden, *d_closed = pull(_d_logits(logits, inverse, *columns_of))
    return d_hidden.reshape(hidden.shape[0], width, -1), d_closed

  if hidden.shape[1] == width:
    d_hidden, d_closed = chunk(0)
    return d_closed, d_hidden, *no_gradient

  def step(carry, start):
    d_hidden, total = carry
    part, d_closed = chunk(start)
    d_hidden = jax.lax.dynamic_update_slice_in_dim(d_hidden, part, start, 1)
    return (d_hidden, jax.tree.map(jnp.add, total, d_closed)), None

  zeros = jax.tree.map(jnp.zeros_like, (hidden, list(closed_over)))
  starts = jnp.arange(0, hidden.shape[1], width)
  (d_hidden, d_closed), _ = jax.lax.scan(step, zeros, starts)
  return d_closed, d_hidden, *no_gradient


def _d_logits(
  logits, inverse, targets, entropy, normalizer, d_log_prob, d_entropy
):
  """Cotangent of the logits, in one pass over them.

      d l_v = ([v = target] a - p_v (a + b (log p_v + H))) / temperature

  with a and b the cotangents of log-probability and entropy.
  """
  scaled = jnp.maximum(logits, LOWEST) * inverse
  p = jnp.exp(scaled - normalizer[:, None])
  constant = d_log_prob + d_entropy * (entropy - normalizer)
  pulled = -p * (constant[:, None] + d_entropy[:, None] * scaled)
  chosen = jnp.arange(logits.shape[-1])[None] == targets[:, None]
  return jnp.where(chosen, pulled + d_log_prob[:, None], pulled) * inverse


_chunks = jax.custom_vjp(_primal, nondiff_argnums=(0, 1))
_chunks.defvjp(_forward, _backward)
