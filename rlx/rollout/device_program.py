"""Whole episodes in one compiled program: policy and environment together.

What `episodes.play` does with an environment on the host, turn by turn, is done
here without a word from the host: all turns of all rows, and then one transfer.
The record is the same.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlx import policy as policies
from rlx import sharding
from rlx.envs.device import language as languages
from rlx.envs.device import protocol
from rlx.rollout import decode, sampling
from rlx.rollout import engine as engines

STOPS = (
  *("max_turns", "completed", "truncated"),
  *("context_overflow", "environment_error"),
)
_GOES_ON, _COMPLETED, _TRUNCATED, _OVERFLOW, _ERROR = range(len(STOPS))


class Rows(NamedTuple):
  """Where the rows of a batch stand, between two turns.

  Attributes:
    live: bool [N].
    state: of their games, leaves [N, ...].
    length: int32 [N], tokens they have.
    tokens: int32 [N, C], what is appended next, the last token first.
    size: int32 [N], how many of these.
    stop: int32 [N], index into `STOPS`.
  """

  live: Any
  state: Any
  length: Any
  tokens: Any
  size: Any
  stop: Any


class Trace(NamedTuple):
  """What happened; axes `N` rows, `T` turns. Where a row had ended, nothing.

  Attributes:
    acted: bool [N, T].
    said: int32 [N, T, C], appended before the turn, the last token first.
    said_size: int32 [N, T].
    written: the fields of `decode.Decoded`, [N, T, ...].
    reward: float32 [N, T].
    success: int32 [N, T], see `protocol.Stepped`.
    parse_error: bool [N, T].
    evidence: float32 [N, T, E].
    key: int32 [N, T, K], of what was acted on.
    next_key: int32 [N, T, K].
    stop: int32 [N], index into `STOPS`.
  """

  acted: Any
  said: Any
  said_size: Any
  written: dict[str, Any]
  reward: Any
  success: Any
  parse_error: Any
  evidence: Any
  key: Any
  next_key: Any
  stop: Any


class Program(NamedTuple):
  """See `make_program`.

  Attributes:
    shape: static sizes.
    game: what is played.
    run: `(params, key, prompt_ids[P], tokens[P C], length[P], states[P ...]) ->
      Trace` on the host, and seconds on the device.
  """

  shape: engines.Shape
  game: protocol.Game
  run: Callable[..., tuple[Trace, float]]


def make_program(
  policy: policies.Policy,
  shape: engines.Shape,
  game: protocol.Game,
  language: languages.Language,
  *,
  sampler: sampling.Sampling,
  stop_ids: Sequence[int],
  mesh: Mesh,
) -> Program:
  """Returns the compiled program; rows split over the mesh's batch axes."""
  sharding.check_divides("prompts × samples", shape.rows, mesh)
  write = functools.partial(
    decode.decode,
    policy,
    sampling=sampler,
    stop_ids=tuple(stop_ids),
    max_new=shape.action_tokens,
  )
  open_ = _opening(policy, shape, write, mesh)
  append = engines.appending(policy, shape, write, mesh)
  act = functools.partial(_act, shape, game)
  rows_first = sharding.batch_sharding(mesh, 1)

  @functools.partial(jax.jit, out_shardings=rows_first)
  def play(params, key, prompt_ids, tokens, length, states, language):
    repeat = _repeating(shape, mesh)
    samples = jnp.tile(
      jnp.arange(shape.num_samples, dtype=jnp.int32), shape.num_prompts
    )
    keys = sampling.row_keys(key, repeat(prompt_ids), samples)
    decoded, kept = open_(params, keys, tokens, length)
    rows = _begin(shape, repeat(states), repeat(length))
    trace = _empty(shape, game, rows.state)
    rows, trace = act(language, jnp.int32(0), rows, trace, decoded)

    def turn(window, carry):
      t, kept, rows, trace = carry
      start = jnp.where(rows.live, rows.length - 1, 0)
      decoded, kept = append(
        params, kept, keys, rows.tokens, start, rows.size, rows.live, window
      )
      rows, trace = act(language, t, rows, trace, decoded)
      return t + 1, kept, rows, trace

    carry = (jnp.int32(1), kept, rows, trace)
    for window, end in _windows(shape):
      more = lambda carry, end=end: (carry[0] < end) & jnp.any(carry[2].live)
      carry = jax.lax.while_loop(more, functools.partial(turn, window), carry)
    _, _, rows, trace = carry
    return trace._replace(stop=rows.stop)

  tables = jax.device_put(language, sharding.replicated(mesh))

  def run(params, key, prompt_ids, tokens, length, states):
    began = time.perf_counter()
    place = functools.partial(_place, mesh)
    given = jax.tree.map(place, (prompt_ids, tokens, length, states))
    trace = jax.device_get(play(params, key, *given, tables))
    return trace, time.perf_counter() - began

  return Program(shape, game, run)


def _opening(policy, shape: engines.Shape, write, mesh: Mesh) -> Callable:
  """Returns the first turn of all rows, not yet compiled: `Engine.first`."""
  alone = shape.num_prompts % sharding.batch_devices(mesh) != 0

  def open_(params, keys, tokens, length):
    repeat = _repeating(shape, mesh)
    hidden, trunk = decode.prefill(
      policy, params, tokens, length, shape.prompt_tokens
    )
    trunk = decode.share(trunk, shape.num_samples) if alone else trunk
    trunk, cut = _split(mesh, trunk), repeat(length)
    decoded, cache = write(
      params,
      _split(mesh, policy.init_cache(shape.rows, shape.cache_length)),
      repeat(hidden),
      cut,
      jnp.ones((shape.rows,), bool),
      keys,
      window=shape.window(0),
      trunk=trunk,
      cut=cut,
    )
    return decoded, engines.Kept(trunk, cache, cut)

  return open_


def _repeating(shape: engines.Shape, mesh: Mesh) -> Callable:
  """Returns `(tree of a row a prompt) -> tree of a row a sample`."""
  return lambda tree: _split(
    mesh,
    jax.tree.map(lambda x: jnp.repeat(x, shape.num_samples, axis=0), tree),
  )


def _windows(shape: engines.Shape) -> list[tuple[int, int]]:
  """Returns each window with the turn before which it is left, in order."""
  ends: dict[int, int] = {}
  for turn in range(1, shape.turns):
    ends[shape.window(turn)] = turn + 1
  return list(ends.items())


def _begin(shape: engines.Shape, state: Any, length: jax.Array) -> Rows:
  n, width = shape.rows, shape.turn_tokens + 1
  return Rows(
    live=jnp.ones((n,), bool),
    state=state,
    length=length,
    tokens=jnp.zeros((n, width), jnp.int32),
    size=jnp.ones((n,), jnp.int32),
    stop=jnp.zeros((n,), jnp.int32),
  )


def _empty(shape: engines.Shape, game: protocol.Game, state: Any) -> Trace:
  n, turns = shape.rows, shape.turns
  ints = lambda *more: jnp.zeros((n, turns, *more), jnp.int32)
  floats = lambda *more: jnp.zeros((n, turns, *more), jnp.float32)
  bools = lambda: jnp.zeros((n, turns), bool)
  one = jax.tree.map(lambda x: x[0], state)
  width = jax.eval_shape(lambda x: game.key(x, jnp), one).shape[0]
  tokens = shape.action_tokens
  return Trace(
    acted=bools(),
    said=ints(shape.turn_tokens + 1),
    said_size=ints(),
    written={
      "tokens": ints(tokens),
      "log_probs": floats(tokens),
      "raw_log_probs": floats(tokens),
      "length": ints(),
      "stopped": bools(),
    },
    reward=floats(),
    success=ints(),
    parse_error=bools(),
    evidence=floats(len(game.evidence)),
    key=ints(width),
    next_key=ints(width),
    stop=jnp.zeros((n,), jnp.int32),
  )


def _act(
  shape: engines.Shape,
  game: protocol.Game,
  language: languages.Language,
  t: jax.Array,
  rows: Rows,
  trace: Trace,
  decoded: decode.Decoded,
) -> tuple[Rows, Trace]:
  """Takes what the live rows wrote to their games, and what these say back."""
  live, width = rows.live, shape.turn_tokens + 1
  read = functools.partial(languages.read, language)
  action = jax.vmap(read)(decoded.tokens, decoded.length - decoded.stopped)
  key = jax.vmap(lambda x: game.key(x, jnp))
  found = jax.vmap(lambda x, y: game.step(x, y, jnp))(rows.state, action)
  end = jnp.maximum(decoded.length - 1, 0)[:, None]
  last = jnp.take_along_axis(decoded.tokens, end, axis=1)[:, 0]
  tokens, size = jax.vmap(
    lambda state, last, stopped: languages.chunk(
      language, game.observe(state, jnp), last, stopped, width
    )
  )(found.state, last, decoded.stopped)
  length = rows.length + rows.size - 1 + decoded.length
  stop = _stop(shape, t, found, length + size - 1, size - 1)
  keeps = lambda new, old: jnp.where(_wide(live, new), new, old)
  after = Rows(
    live=live & (stop == _GOES_ON) & (t + 1 < shape.turns),
    state=jax.tree.map(keeps, found.state, rows.state),
    length=keeps(length, rows.length),
    tokens=keeps(tokens, jnp.zeros_like(tokens)),
    size=keeps(size, jnp.ones_like(size)),
    stop=keeps(stop, rows.stop),
  )
  now = Trace(
    acted=live,
    said=rows.tokens,
    said_size=rows.size - 1,
    written={name: getattr(decoded, name) for name in trace.written},
    reward=found.reward,
    success=found.success,
    parse_error=found.parse_error,
    evidence=found.evidence,
    key=key(rows.state),
    next_key=key(found.state),
    stop=None,
  )
  old = trace._replace(stop=None)
  put = lambda all_, x: jax.lax.dynamic_update_slice_in_dim(
    all_, keeps(x, jnp.zeros_like(x))[:, None].astype(all_.dtype), t, axis=1
  )
  return after, jax.tree.map(put, old, now)._replace(stop=trace.stop)


def _stop(shape, t, found: protocol.Stepped, after, said) -> jax.Array:
  """Why each row ends here, in the order in which the host asks."""
  room = after + shape.action_tokens <= shape.length
  fits = room & (said <= shape.turn_tokens)
  last = t + 1 == shape.turns
  reasons = [
    (~jnp.isfinite(found.reward), _ERROR),
    (found.terminated, _COMPLETED),
    (found.truncated, _TRUNCATED),
    (~fits & ~last, _OVERFLOW),
  ]
  stop = jnp.full(after.shape, _GOES_ON, jnp.int32)
  for holds, reason in reversed(reasons):
    stop = jnp.where(holds, reason, stop)
  return stop


def _wide(flag: jax.Array, like: jax.Array) -> jax.Array:
  """Returns a flag for each row in as many dimensions as `like` has."""
  return flag.reshape(-1, *[1] * (like.ndim - 1))


def _split(mesh: Mesh, tree: Any) -> Any:
  return jax.tree.map(
    lambda x: jax.lax.with_sharding_constraint(
      x, sharding.batch_sharding(mesh, x.ndim)
    ),
    tree,
  )


def _place(mesh: Mesh, x: np.ndarray) -> jax.Array:
  if x.shape[0] % sharding.batch_devices(mesh):
    return jax.device_put(x, sharding.replicated(mesh))
  return jax.device_put(x, sharding.batch_sharding(mesh, x.ndim))
