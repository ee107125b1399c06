"""Prompts into a cache, a bounded number of tokens at a time."""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlx import policy as policies
from rlx.rollout import decode

MOST = 8192  # Tokens that are computed at once, unless told.
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
  devices: int = 1,
) -> tuple[Float[Array, "P D"], policies.Cache]:
  """Returns the features of each prompt's last token, and the filled cache.

  As `decode.prefill`, but no more than `chunk` tokens are computed at once:
  as many whole prompts as that makes, or of a longer prompt a part at a time.
  The cache has `padded` slots.

  Args:
    devices: over which the prompts are split, evenly; each computes `chunk`
      tokens at once, of prompts of its own.
  """
  rows, longest = tokens.shape
  each = rows // devices
  block = max(1, chunk // longest)
  if block >= each and longest <= chunk:
    return decode.prefill(policy, params, tokens, length, longest)
  width = padded(longest, chunk)
  more = (0, 0), (0, -each % block)
  tokens = jnp.pad(
    tokens.reshape(devices, each, longest), (*more, (0, width - longest))
  )
  length = jnp.pad(length.reshape(devices, each), more, constant_values=1)
  # The first prompts of each device, then the next of each.
  apart = lambda x: jnp.moveaxis(
    x.reshape(devices, -1, block, *x.shape[2:]), 0, 1
  )
  joined = lambda x: x.reshape(x.shape[0], devices * block, *x.shape[3:])

  def one(part):
    tokens, length = part
    if width == longest <= chunk:
      return decode.prefill(policy, params, tokens, length, width)
    return _in_parts(policy, params, tokens, length, chunk)

  found = jax.lax.map(one, (joined(apart(tokens)), joined(apart(length))))

  def back(x):
    x = jnp.moveaxis(x.reshape(-1, devices, block, *x.shape[2:]), 1, 0)
    x = x.reshape(devices, -1, *x.shape[3:])[:, :each]
    return x.reshape(rows, *x.shape[2:])

  return jax.tree.map(back, found)


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
