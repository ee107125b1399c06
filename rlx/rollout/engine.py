"""The compiled programs of a rollout, for one policy, batch shape and sampler.

Shapes are fixed: `first` once a batch, `turn` once a turn, for a few windows. The
first call of `first` compiles them all; nothing is compiled after it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlx import ahead, sharding
from rlx import policy as policies
from rlx.rollout import decode, pages, prefill, sampling
from rlx.rollout import memory as memories


class Shape(NamedTuple):
  """Everything about a rollout that is static."""

  num_prompts: int
  num_samples: int
  prompt_tokens: int  # Longest prompt.
  turn_tokens: int  # Longest thing said to the policy between two of its turns.
  action_tokens: int  # Longest turn of the policy.
  turns: int

  @property
  def rows(self) -> int:
    return self.num_prompts * self.num_samples

  @property
  def length(self) -> int:
    """Longest sequence."""
    per_turn = self.turn_tokens + self.action_tokens
    return self.prompt_tokens + self.action_tokens + (self.turns - 1) * per_turn

  @property
  def tail(self) -> int:
    """Most tokens behind a prompt."""
    return self.length - self.prompt_tokens

  def window(self, turn: int) -> int:
    """Returns how many slots behind the prompt turn `turn` may read."""
    if turn == 0:
      return self.action_tokens
    per_turn = self.turn_tokens + self.action_tokens
    need = self.action_tokens + turn * per_turn + 1
    return -(-need // self._part) * self._part

  @property
  def _part(self) -> int:
    """Slots by which windows grow: a quarter, or all where there are few."""
    slots = self.tail + 1
    return -(-slots // max(1, min(4, slots // 64)))

  @property
  def cache_length(self) -> int:
    """Slots of a row behind its prompt."""
    if self.turns == 1:
      return self.action_tokens
    whole = -(-(self.tail + 1) // self._part) * self._part
    # The appended chunk is written whole, padding included.
    return whole + self.turn_tokens + 1


class Kept(NamedTuple):
  """What is kept between turns; see `Policy.extend`.

  Attributes:
    trunk: the prompts, of which each is there once for its group.
    cache: what each row has behind its prompt.
    cut: int [N], tokens of each row's prompt.
  """

  trunk: policies.Cache
  cache: policies.Cache
  cut: jax.Array


class Engine(NamedTuple):
  """Compiled functions, see `make_engine`.

  Attributes:
    shape: static sizes.
    first: `(params, key, prompt_ids[P], tokens[P C], length[P], limit=None) ->
      (Decoded, Kept)`: the first turn of `P * G` rows, of `limit[P * G]` tokens
      at the most.
    turn: `(params, key, kept, prompt_ids[N], samples[N], tokens[N C],
      start[N], length[N], live[N], window) -> (Decoded, Kept)`: appends the
      tokens and lets the live rows write. What was kept is donated.
    place: puts a NumPy array of rows on the mesh.
    keep: `(params, kept, tokens, length, rows)`: has the memory keep what these
      rows have read, of tokens [N L] and length [N]. Without a memory, None.
  """

  shape: Shape
  first: Callable
  turn: Callable
  place: Callable
  keep: Callable | None = None


def make_engine(
  policy: policies.Policy,
  shape: Shape,
  *,
  sampler: sampling.Sampling,
  stop_ids: tuple[int, ...],
  mesh: Mesh,
  memory: memories.Memory | None = None,
  prefill_tokens: int = prefill.MOST,
) -> Engine:
  """Returns the compiled programs; rows split over the mesh's batch axes.

  Args:
    memory: what is drawn can be kept in it, to go on from.
    prefill_tokens: of prompts, that a device computes at once.
  """
  sharding.check_divides("prompts × samples", shape.rows, mesh)
  write = writing(policy, shape, sampler, stop_ids)
  begin_rows = beginning(policy, shape, write, mesh, prefill_tokens)
  append = appending(policy, shape, write, mesh)
  rows = sharding.batch_sharding(mesh, 1)

  @functools.partial(jax.jit, out_shardings=rows)
  def first(params, key, prompt_ids, tokens, length, limit=None):
    keys = first_keys(key, prompt_ids, shape, mesh)
    return begin_rows(params, keys, tokens, length, limit)

  @functools.partial(
    jax.jit, static_argnames="window", donate_argnums=2, out_shardings=rows
  )
  def turn(
    params, key, kept, prompt_ids, samples, tokens, start, length, live, window
  ):
    keys = sampling.row_keys(key, prompt_ids, samples)
    return append(params, kept, keys, tokens, start, length, live, window)

  place = functools.partial(sharding.place_rows, mesh)
  compiling, begun = ahead.Ahead(), []

  def begin(params, key, *prompts):
    if not begun:
      begun.append(True)
      _, kept = jax.eval_shape(first, params, key, *prompts)
      kept = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), kept
      )
      like = (ahead.shape_of(params), key, kept, *_chunk(shape, place))
      for window in sorted({shape.window(t) for t in range(1, shape.turns)}):
        compiling.start(turn, *like, window=window, name=window)
    return first(params, key, *prompts)

  def go_on(*args, window):
    compiling.wait(window)
    return turn(*args, window=window)

  def keep(params, kept, tokens, length, rows):
    assert memory is not None
    size = memory.size
    prompts = shape.num_prompts * pages.needed(shape.prompt_tokens, size)
    own = pages.needed(shape.tail, size) + 1
    memory.keep(
      params,
      kept,
      rows,
      # The last token may not have been read yet.
      [tokens[row, : length[row] - 1] for row in rows],
      -(-(prompts + shape.rows * own) // 4),
    )

  return Engine(shape, begin, go_on, place, keep if memory else None)


def writing(
  policy, shape: Shape, sampler: sampling.Sampling, stop_ids: tuple[int, ...]
) -> Callable:
  """Returns `decode.decode` of one turn, which the programs are made of."""
  return functools.partial(
    decode.decode,
    policy,
    sampling=sampler,
    stop_ids=stop_ids,
    max_new=shape.action_tokens,
  )


def first_keys(
  key: jax.Array, prompt_ids: jax.Array, shape: Shape, mesh: Mesh
) -> jax.Array:
  """Returns the keys of a first turn's rows, see `sampling.row_keys`."""
  samples = jnp.arange(shape.num_samples, dtype=jnp.int32)
  samples = jnp.tile(samples, shape.num_prompts)
  return sampling.row_keys(key, repeating(shape, mesh)(prompt_ids), samples)


def repeating(shape: Shape, mesh: Mesh) -> Callable:
  """Returns `(tree of a row a prompt) -> tree of a row a sample`."""
  return lambda tree: _split(mesh, decode.share(tree, shape.num_samples))


def beginning(
  policy, shape: Shape, write, mesh: Mesh, prefill_tokens: int = prefill.MOST
) -> Callable:
  """Returns what reads prompts and lets all their rows write, not yet compiled.

  It is `(params, keys[N], tokens[P C], length[P], limit=None) -> (Decoded,
  Kept)`.
  """
  repeat = repeating(shape, mesh)
  # A trunk is split over the devices as its rows are, if that comes out even.
  devices = sharding.batch_devices(mesh)
  alone = shape.num_prompts % devices != 0

  def begin_rows(params, keys, tokens, length, limit=None):
    hidden, trunk = prefill.prefill(
      *(policy, params, tokens, length, prefill_tokens),
      devices=1 if alone else devices,
    )
    trunk = repeat(trunk) if alone else _split(mesh, trunk)
    cut = repeat(length)
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
      budget=limit,
    )
    return decoded, Kept(trunk, cache, cut)

  return begin_rows


def appending(policy, shape: Shape, write, mesh: Mesh) -> Callable:
  """Returns what appends to rows and lets them write, not yet compiled.

  It is `(params, kept, keys, tokens[N C], start[N], length[N], live[N], window,
  limit=None) -> (Decoded, Kept)`. What rows have that are not live stays.
  """

  def append(
    params, kept, keys, tokens, start, length, live, window, limit=None
  ):
    # Before its first slot, a row writes nothing.
    nowhere = kept.cut - tokens.shape[1] - shape.action_tokens
    start = jnp.where(live, start, nowhere)
    forked = {"trunk": kept.trunk, "cut": kept.cut}
    hidden, cache = decode.extend(
      *(policy, params, kept.cache, tokens, start, length, window), **forked
    )
    decoded, cache = write(
      *(params, _split(mesh, cache), hidden, start + length, live, keys),
      window=window,
      budget=limit,
      **forked,
    )
    return decoded, kept._replace(cache=cache)

  return append


def _split(mesh: Mesh, tree):
  return jax.tree.map(
    lambda x: jax.lax.with_sharding_constraint(
      x, sharding.batch_sharding(mesh, x.ndim)
    ),
    tree,
  )


def _chunk(shape: Shape, place) -> tuple[jax.Array, ...]:
  """Returns what `turn` is told of each row, from prompt_ids to live."""
  row = place(np.zeros(shape.rows, np.int32))
  tokens = np.zeros((shape.rows, shape.turn_tokens + 1), np.int32)
  return row, row, place(tokens), row, row, place(np.ones(shape.rows, bool))
