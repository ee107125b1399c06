"""Between two turns on the device: where rows stand, and what has happened."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx.envs.device import language as languages
from rlx.envs.device import protocol
from rlx.rollout import decode
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


def begin(shape: engines.Shape, state: Any, length: jax.Array) -> Rows:
  """Returns rows that have their prompts, and nobody has acted."""
  n, width = shape.rows, shape.turn_tokens + 1
  return Rows(
    live=jnp.ones((n,), bool),
    state=state,
    length=length,
    tokens=jnp.zeros((n, width), jnp.int32),
    size=jnp.ones((n,), jnp.int32),
    stop=jnp.zeros((n,), jnp.int32),
  )


def empty(shape: engines.Shape, game: protocol.Game, state: Any) -> Trace:
  """Returns the trace of rows of such a state before the first turn."""
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


def act(
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
