"""Decoding with a cache: prefill once a prompt, then a fixed-shape loop."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rlx import policy as policies
from rlx import pytree
from rlx.rollout import sampling as samplings


@pytree.dataclass
class Decoded:
  """What the policy wrote in one go; axes `N` rows, `T` new tokens."""

  tokens: Int[Array, "N T"]  # 0 after the end.
  log_probs: Float[Array, "N T"]  # 0 after the end.
  raw_log_probs: Float[Array, "N T"]
  length: Int[Array, " N"]  # Tokens written, the stop token included.
  stopped: Bool[Array, " N"]  # Ended by a stop id; else by the limit.


def prefill(
  policy: policies.Policy,
  params: policies.Params,
  tokens: Int[Array, "P C"],
  length: Int[Array, " P"],
  cache_length: int,
) -> tuple[Float[Array, "P D"], policies.Cache]:
  """Returns the features of each prompt's last token, and the filled cache."""
  rows, chunk = tokens.shape
  cache = policy.init_cache(rows, cache_length)
  start = jnp.zeros((rows,), jnp.int32)
  return extend(policy, params, cache, tokens, start, length, chunk)


def extend(
  policy: policies.Policy,
  params: policies.Params,
  cache: policies.Cache,
  tokens: Int[Array, "N C"],
  start: Int[Array, " N"],
  length: Int[Array, " N"],
  window: int,
  trunk: policies.Cache | None = None,
  cut: Int[Array, " N"] | None = None,
) -> tuple[Float[Array, "N D"], policies.Cache]:
  """Appends `length` of each row's tokens at position `start`.

  Returns the features of each row's last appended token, and the cache. What
  is written past `length` lies in front of every later query and is overwritten
  before it can be seen. A row with nothing to append gives meaningless features.
  """
  positions = (
    start[:, None] + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
  )
  hidden, cache = policy.extend(
    params, cache, tokens, positions, window, trunk=trunk, cut=cut
  )
  last = jnp.maximum(length - 1, 0)[:, None, None]
  return jnp.take_along_axis(hidden, last, axis=1)[:, 0], cache


def share(cache: policies.Cache, num_samples: int) -> policies.Cache:
  """Returns the cache with each row repeated for the samples of its group."""
  return jax.tree.map(lambda x: jnp.repeat(x, num_samples, axis=0), cache)


def decode(
  policy: policies.Policy,
  params: policies.Params,
  cache: policies.Cache,
  hidden: Float[Array, "N D"],
  start: Int[Array, " N"],
  live: Bool[Array, " N"],
  keys: Key[Array, " N"],
  *,
  sampling: samplings.Sampling,
  stop_ids: Sequence[int],
  max_new: int,
  window: int,
  trunk: policies.Cache | None = None,
  cut: Int[Array, " N"] | None = None,
  budget: Int[Array, " N"] | None = None,
) -> tuple[Decoded, policies.Cache]:
  """Samples up to `max_new` tokens a row, from the features of its last token.

  Args:
    hidden: features of the token at position `start - 1`.
    start: position of the first new token.
    live: rows that write; the others return length 0.
    keys: one a row, see `sampling.row_keys`; folded with the position.
    stop_ids: a row ends with the first of these that it draws.
    window: static bound on the cache slots that are read.
    trunk: what rows share and continue from `cut` on; see `Policy.extend`.
    budget: most tokens of each row, where that is less than `max_new`.

  The last new token of a row may not be in the cache: whoever goes on from here
  appends it again, with what follows it.
  """
  stops = jnp.asarray(list(stop_ids) or [-1], jnp.int32)
  params = policy.prepare(params)
  rows = start.shape[0]

  def write(out: Decoded, t, hidden, done):
    drawn = samplings.draw(
      policy.logits(params, hidden), keys, start + t, sampling
    )
    put = lambda buffer, x: jax.lax.dynamic_update_slice(
      buffer, jnp.where(done, 0, x).astype(buffer.dtype)[:, None], (0, t)
    )
    hit = jnp.any(drawn.token[:, None] == stops[None], axis=-1) & ~done
    out = dataclasses.replace(
      out,
      tokens=put(out.tokens, drawn.token),
      log_probs=put(out.log_probs, drawn.log_prob),
      raw_log_probs=put(out.raw_log_probs, drawn.raw_log_prob),
      length=out.length + (~done).astype(jnp.int32),
      stopped=out.stopped | hit,
    )
    over = done | hit
    return out, over if budget is None else over | (t + 1 >= budget)

  def body(carry):
    t, cache, out, done = carry
    last = jax.lax.dynamic_slice(out.tokens, (0, t - 1), (rows, 1))
    hidden, cache = policy.extend(
      *(params, cache, last, (start + t - 1)[:, None], window),
      trunk=trunk,
      cut=cut,
    )
    out, done = write(out, t, hidden[:, 0], done)
    return t + 1, cache, out, done

  zeros = jnp.zeros((rows, max_new), jnp.float32)
  out = Decoded(
    tokens=jnp.zeros((rows, max_new), jnp.int32),
    log_probs=zeros,
    raw_log_probs=zeros,
    length=jnp.zeros((rows,), jnp.int32),
    stopped=jnp.zeros((rows,), bool),
  )
  live = live if budget is None else live & (budget > 0)
  out, done = write(out, jnp.int32(0), hidden, ~live)
  more = lambda carry: (carry[0] < max_new) & ~jnp.all(carry[3])
  _, cache, out, _ = jax.lax.while_loop(
    more, body, (jnp.int32(1), cache, out, done)
  )
  return out, cache
