"""Whole episodes in one compiled program: policy and environment together.

What `episodes.play` does with an environment on the host, turn by turn, is done
here without a word from the host: all turns of all rows, and then one transfer.
The record is the same.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rlx import policy as policies
from rlx import sharding
from rlx.envs.device import language as languages
from rlx.envs.device import protocol
from rlx.rollout import device_turns, prefill, sampling
from rlx.rollout import engine as engines


class Program(NamedTuple):
  """See `make_program`.

  Attributes:
    shape: static sizes.
    game: what is played.
    run: `(params, key, prompt_ids[P], tokens[P C], length[P], states[P ...]) ->
      device_turns.Trace` on the host, and seconds on the device.
  """

  shape: engines.Shape
  game: protocol.Game
  run: Callable[..., tuple[device_turns.Trace, float]]


def make_program(
  policy: policies.Policy,
  shape: engines.Shape,
  game: protocol.Game,
  language: languages.Language,
  *,
  sampler: sampling.Sampling,
  stop_ids: Sequence[int],
  mesh: Mesh,
  prefill_tokens: int = prefill.MOST,
) -> Program:
  """Returns the compiled program; rows split over the mesh's batch axes."""
  sharding.check_divides("prompts × samples", shape.rows, mesh)
  write = engines.writing(policy, shape, sampler, tuple(stop_ids))
  begin = engines.beginning(policy, shape, write, mesh, prefill_tokens)
  append = engines.appending(policy, shape, write, mesh)
  act = functools.partial(device_turns.act, shape, game)
  rows_first = sharding.batch_sharding(mesh, 1)

  @functools.partial(jax.jit, out_shardings=rows_first)
  def play(params, key, prompt_ids, tokens, length, states, language):
    repeat = engines.repeating(shape, mesh)
    keys = engines.first_keys(key, prompt_ids, shape, mesh)
    params = policy.prepare(params)  # Once, and not in every turn.
    decoded, kept = begin(params, keys, tokens, length)
    rows = device_turns.begin(shape, repeat(states), repeat(length))
    trace = device_turns.empty(shape, game, rows.state)
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
    place = functools.partial(sharding.place_rows, mesh)
    given = jax.tree.map(place, (prompt_ids, tokens, length, states))
    trace = jax.device_get(play(params, key, *given, tables))
    return trace, time.perf_counter() - began

  return Program(shape, game, run)


def _windows(shape: engines.Shape) -> list[tuple[int, int]]:
  """Returns each window with the turn before which it is left, in order."""
  ends: dict[int, int] = {}
  for turn in range(1, shape.turns):
    ends[shape.window(turn)] = turn + 1
  return list(ends.items())
