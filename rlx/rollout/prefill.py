"""Prompts into a cache, a bounded number of tokens at a time."""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlx import policy as policies
from rlx.rollout import decode

_LEVELS = 8  # Windows that are compiled for one prompt's chunks.


def padded(length: int, chunk: int) -> int:
  """Returns the cache slots of a prompt of `length` tokens."""
  return length if length <= chunk else -(-length // chunk) * chunk


def prefill(
  policy: policies.Policy,
  params: policies.Params,
  tokens: Int[Array, "P C"],
  length: Int[Array, " P"],
  chunk: int,
) -> tuple[Float[Array, "P D"], policies.Cache]:
  """Returns the features of each prompt's last token, and the filled cache.

  As `decode.prefill`, but no more than `chunk` tokens are computed at once:
  as many whole prompts as that makes, or of a longer prompt a part at a time.
  The cache has `padded` slots.
  """
  rows, longest = tokens.shape
  block = max(1, chunk // longest)
  if block >= rows and longest <= chunk:
    return decode.prefill(policy, params, tokens, length, longest)
  width = padded(longest, chunk)
  more = -rows % block
  tokens = jnp.pad(tokens, ((0, more), (0, width - longest)))
  length = jnp.pad(length, (0, more), constant_values=1)

  def one(part):
    tokens, length = part
    if width == longest <= chunk:
      return decode.prefill(policy, params, tokens, length, width)
    return _in_parts(policy, params, tokens, length, chunk)

  parts = (tokens.reshape(-1, block, width), length.reshape(-1, block))
  found = jax.lax.map(one, parts)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:rows], found)


def _in_parts(policy, params, tokens, length, chunk):
  """Prefills rows that are longer than a chunk; later parts read more."""
  rows, width = tokens.shape
  count = width // chunk

  def extend(number, cache, window):
    part = jax.lax.dynamic_slice_in_dim(tokens, number * chunk, chunk, 1)
    begin = jnp.zeros((rows,), jnp.int32) + number * chunk
    return decode.extend(
      *(policy, params, cache, part, begin),
      jnp.clip(length - begin, 1, chunk),
      window,
    )

  hidden, cache = extend(0, policy.init_cache(rows, width), chunk)
  edges = sorted({1, *(-(-count * i // _LEVELS) for i in range(1, 9))})
  for first, last in itertools.pairwise(edges):

    def body(number, carry, window=last * chunk):
      hidden, cache = carry
      new, cache = extend(number, cache, window)
      here = (length > number * chunk)[:, None]
      return jnp.where(here, new, hidden), cache

    hidden, cache = jax.lax.fori_loop(first, last, body, (hidden, cache))
  return hidden, cache
