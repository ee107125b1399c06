"""Exploration read from the geometry of a response's hidden states.

The effective rank of the states so far says in how many directions the response
has moved; its velocity and acceleration over the tokens say whether it keeps
finding new ones.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx import metrics
from rlx.evidence import chunks, provider


def effective_rank(
  context: provider.Context,
  *,
  stride: int = 40,
  window: int = 512,
  decay: float = 0.3,
  gain: float = 2.0,
) -> provider.Provider:
  """Fills "exploration" with Phi of the sequence, the same on all its steps.

      m_k = ER(Z[:k stride + 1]),  ERV and ERA: see `velocity`
      d_x = clip((x - mu_x) / (|mu_x| + 1e-8), -5, 5), x of (ERA, ERV, ER)
      b = sigmoid(gain d_ERA)
      Phi = b tanh(d_ER) + (1 - b) tanh(d_ERV)
      mu <- (1 - decay) mu + decay (mean of the batch)

  Z are the policy's final features of the last `window` tokens that it chose.
  Phi is 0 in the first batch, when mu is unknown, and for a sequence of less
  than two strides, which has no part in mu either. Each sequence takes
  window / stride eigenproblems of that size, one sequence at a time.

  Args:
    context: of the policy.
    stride: tokens between two looks.
    window: most tokens looked at.
    decay: weight of a new batch in the baselines.
    gain: steepness of the choice between velocity and rank.

  Raises:
    ValueError: `stride` is below 1, or `window` is not above it.

  Source: Huang et al. 2025 (VERL), arXiv:2509.23808.
  """
  if not 1 <= stride < window:
    raise ValueError(f"stride={stride} is not in 1..{window - 1}: {window=}")

  def init(key, params):
    del key, params
    return {"mean": jnp.zeros(3), "count": jnp.int32(0)}

  def update(state, seen: provider.Seen):
    mask = chunks.chosen(seen.rollout, seen.steps)
    found = _measure(context, seen, mask, stride, window)
    enough = jnp.minimum(mask.sum(-1), window) > 2 * stride
    mean, count = state["mean"], state["count"]
    phi = jnp.where(enough & (count > 0), potential(found, mean, gain), 0.0)
    per = [metrics.mean(x, enough) for x in found.T]
    now = jnp.stack([x.compute() for x in per])
    moved = jnp.where(count > 0, (1 - decay) * mean + decay * now, now)
    some = jnp.any(enough)
    state = {
      "mean": jnp.where(some, moved, mean),
      "count": count + some.astype(jnp.int32),
    }
    names = ("acceleration", "velocity", "rank")
    told = {f"exploration/{n}": x for n, x in zip(names, per, strict=True)}
    told["exploration/phi"] = metrics.mean(phi, enough)
    return state, {"exploration": _of_steps(phi, mask, seen)}, told

  return provider.Provider(("exploration",), init, update)


def rank_of(singular: Float[Array, "*K N"]) -> Float[Array, "*K"]:
  """exp(-sum p log(p + 1e-8)) with p = singular / sum of them; 1 if all are 0.

  Source: Roy and Vetterli 2007, "The effective rank".
  """
  total = singular.sum(-1, keepdims=True)
  p = jnp.where(total > 0, singular / jnp.where(total > 0, total, 1.0), 0.0)
  return jnp.exp(-jnp.sum(p * jnp.log(p + 1e-8), axis=-1))


def velocity(
  ranks: Float[Array, " K"], num: Int[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """(ERV, ERA) of the first `num` ranks; 0 where there are too few.

  delta_k = m_k - mean(m_1 .. m_{k-1}),  k = 2 .. num
  ERV = mean of delta_k,   ERA = mean of delta_k - delta_{k-1}
  """
  size = ranks.shape[0]
  order = jnp.arange(1, size, dtype=ranks.dtype)
  delta = ranks[1:] - jnp.cumsum(ranks)[:-1] / order
  known = jnp.arange(2, size + 1) <= num
  change = delta[1:] - delta[:-1]
  mean = lambda x, where: metrics.mean(x, where).compute()
  return mean(delta, known), mean(change, known[1:])


def potential(
  found: Float[Array, "B 3"], mean: Float[Array, "3"], gain: float
) -> Float[Array, " B"]:
  """Phi of (ERA, ERV, ER), compared with their means."""
  mean = mean[None]
  d = jnp.clip((found - mean) / (jnp.abs(mean) + 1e-8), -5.0, 5.0)
  b = jax.nn.sigmoid(gain * d[:, 0])
  return b * jnp.tanh(d[:, 2]) + (1 - b) * jnp.tanh(d[:, 1])


def prefix_ranks(
  states: Float[Array, "N D"], num: Int[Array, ""], lengths: Int[Array, " K"]
) -> Float[Array, " K"]:
  """Effective ranks of prefixes of the first `num` states.

  Each prefix is centred: the mean of its states is subtracted. The spectrum is
  that of the smaller product of the states with themselves, in full precision;
  what float32 cannot tell from 0 there is 0.
  """
  size = states.shape[0]
  here = jnp.arange(size)
  present = (here < num)[:, None]
  states = jnp.where(present, states, 0.0)
  # The middle of all is taken off first, so that little is left to cancel.
  middle = states.sum(0, keepdims=True) / jnp.maximum(num, 1)
  states = jnp.where(present, states - middle, 0.0)
  wide = states.shape[1] >= size
  gram = _product(states, states.T)

  def centred(length):
    inside = (here < jnp.minimum(length, num)).astype(states.dtype)
    count = jnp.maximum(inside.sum(), 1.0)
    if not wide:
      mean = _product(inside, states)[None] / count
      rest = inside[:, None] * (states - mean)
      return _product(rest.T, rest)
    rows = _product(gram, inside) / count
    whole = _product(inside, rows) / count
    both = inside[:, None] * inside[None]
    return both * (gram - rows[:, None] - rows[None] + whole)

  squares = jnp.linalg.eigvalsh(jax.vmap(centred)(lengths))
  least = squares.max(-1, keepdims=True) * size * jnp.finfo(states.dtype).eps
  good = squares > jnp.maximum(least, 0.0)
  return rank_of(jnp.where(good, jnp.sqrt(jnp.where(good, squares, 1.0)), 0.0))


# Accelerators round the factors of a product unless they are told not to.
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _measure(
  context: provider.Context,
  seen: provider.Seen,
  mask: Bool[Array, "B L"],
  stride: int,
  window: int,
) -> Float[Array, "B 3"]:
  """(ERA, ERV, ER) of each sequence."""
  window = min(window, mask.shape[1])
  looks = jnp.arange(1, max((window - 1) // stride, 1) + 1) * stride + 1
  lengths = jnp.concatenate([looks, jnp.full(1, window)])

  def sequence(part):
    states, num = part
    ranks = prefix_ranks(states, num, lengths)
    erv, era = velocity(ranks[:-1], (num - 1) // stride)
    return jnp.stack([era, erv, ranks[-1]])

  def chunk(part):
    tokens, valid, mask = part
    hidden = chunks.features(context.model, seen.params, tokens, valid)
    states, num = _last(hidden.astype(jnp.float32), mask, window)
    return jax.lax.map(sequence, (states, num))

  rollout = seen.rollout
  parts = chunks.split(context, (rollout.tokens, rollout.valid, mask))
  return chunks.join(jax.lax.map(chunk, parts))


def _last(hidden, mask, window):
  """(features of the last chosen tokens [B window D], how many they are)."""
  order = jnp.argsort(~mask, axis=-1, stable=True)
  total = mask.sum(-1)
  start = jnp.maximum(total - window, 0)
  here = jnp.minimum(
    start[:, None] + jnp.arange(window)[None], len(mask[0]) - 1
  )
  at = jnp.take_along_axis(order, here, axis=1)
  states = jnp.take_along_axis(hidden, at[..., None], axis=1)
  return states, jnp.minimum(total, window)


def _of_steps(
  x: Float[Array, " B"], mask: Bool[Array, "B L"], seen: provider.Seen
) -> Float[Array, " S"]:
  """The number of the sequence that has the step; 0 if nothing was chosen."""
  size = seen.steps.weight.shape[0]
  rows = jnp.broadcast_to(jnp.arange(mask.shape[0])[:, None], mask.shape)
  at = jnp.where(mask, seen.rollout.segment, size)
  row = jax.ops.segment_max(rows.reshape(-1), at.reshape(-1), size + 1)[:size]
  return jnp.where(row >= 0, x[jnp.maximum(row, 0)], 0.0)
