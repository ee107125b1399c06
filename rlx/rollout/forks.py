"""The programs that go on from prefixes which the memory has, or then reads.

To whoever draws this is an engine like any other: it is given prompts, and
samples of each are drawn. But what prompts have in common, among them and with
whatever was kept, is read once, and looked at by all rows that share it at once.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlx import ahead, sharding
from rlx import policy as policies
from rlx.rollout import engine, pages, paging, sampling
from rlx.rollout import layout as layouts
from rlx.rollout import memory as memories


class Kept(NamedTuple):
  """What is kept between turns, and which slot each row has in it.

  Attributes:
    slots: of an engine, a row a slot.
    slot: int [N], of each row.
    row: int [M], of each slot; -1 for nobody.
    own: slots that rows have before those in which they write.
  """

  slots: engine.Kept
  slot: np.ndarray
  row: np.ndarray
  own: int


def make_engine(
  policy: policies.Policy,
  shape: engine.Shape,
  memory: memories.Memory,
  *,
  sampler: sampling.Sampling,
  stop_ids: tuple[int, ...],
  mesh: Mesh,
) -> engine.Engine:
  """Returns an engine whose prompts are looked up in the memory.

  Its arrays stay on the host until they are in the order of their trunks.
  """
  sharding.check_divides("prompts × samples", shape.rows, mesh)
  begin, turn = _programs(policy, shape, sampler, stop_ids, mesh)
  devices = sharding.batch_devices(mesh)
  group, ways = shape.num_samples, layouts.ways(shape, memory)
  place, window = functools.partial(paging.place, mesh), shape.window(0)
  warm: set[Any] = set()  # Ways, and pages of the pool.
  kinds: list[tuple[Any, ...]] = []  # Shapes of what may be kept.

  def lay_out(prompts) -> layouts.Layout:
    while True:
      found = layouts.arrange(prompts, memory.size, *ways[0])
      if found is not None and found.num * found.most * group % devices == 0:
        return found
      ways.pop(0)  # For good, as each has to be compiled.

  def start_others(params, key, layout, prompts, behind):
    """When a way to lay out is first gone, compiles it for all widths.

    There are three ways at the most, of which each is left for good.
    """
    compiling, now = ahead.Ahead(), (ways[0], memory.pool.pages)
    if now in warm or len(memory.widths) == 1:
      return compiling
    known = any(way == ways[0] for way, _ in warm)
    *behind, limit, slot = behind
    mine = layouts.width(prompts, memory), layout.own, layout.most
    for one in layouts.sizes(ways[:1], shape, memory.size, devices):
      load = functools.partial(memory.pool.load_ahead, compiling)
      cache = load(one.rows, one.own) if one.own else None
      told = [
        x if x is None else place(np.zeros((one.rows, *x.shape[1:]), x.dtype))
        for x in (*behind, limit)
      ]
      for width in memory.widths:
        trunk = load(one.trunks, width)
        like = ahead.shape_of(params), key, trunk, cache, *told, slot
        reads = {"window": one.before * memory.size + window}
        if not known:
          _, kept = paging.shapes(mesh, begin, *like, **reads)
          kinds.append((kept.cache, kept.trunk, kept.cut))
          if (width, one.before, one.most) != mine:
            compiling.start(begin, *like, **reads)
    warm.add(now)
    return compiling

  def first(params, key, prompt_ids, tokens, length, limit=None):
    prompts = [tokens[p, : length[p]] for p in range(len(length))]
    layout = lay_out(prompts)
    slot, row = layouts.slots(layout, len(length), group)
    tables = functools.partial(
      *(layouts.tables, layout, prompts, memory, shape.cache_length),
      slot.reshape(-1, group),
      layout.num % devices != 0,
    )
    trunk, *own = memory.load(params, [x[:-1] for x in prompts], tables)
    whose = np.maximum(row, 0)
    at, before = whose // group, layout.own * memory.size
    behind = (
      place(prompt_ids[at].astype(np.int32)),
      place((whose % group).astype(np.int32)),
      place(tokens[at, length[at] - 1][:, None].astype(np.int32)),
      place((length[at] - 1).astype(np.int32)),
      place(layout.cut[at]),
      place(row >= 0),
      None if limit is None else place(limit[whose]),
      slot,
    )
    cache = own[0] if own else None
    others = start_others(params, key, layout, prompts, behind)
    decoded, kept = begin(
      params, key, trunk, cache, *behind, window=before + window
    )
    others.wait()
    return decoded, Kept(kept, slot, row, before)

  def go_on(params, key, kept, *rows, window):
    at = np.maximum(kept.row, 0)
    *told, live = [np.asarray(x)[at] for x in rows]
    told = map(place, (*told, live & (kept.row >= 0)))
    decoded, slots = turn(
      *(params, key, kept.slots, kept.slot, *told), window=kept.own + window
    )
    return decoded, kept._replace(slots=slots)

  def keep(params, kept, tokens, length, rows):
    own = pages.needed(shape.tail + 1, memory.size) + 1
    memory.keep(
      params,
      kept.slots,
      kept.slot[rows],
      [tokens[row, : length[row] - 1] for row in rows],
      -(-shape.rows * own // 4),
      kinds,
    )

  return engine.Engine(shape, first, go_on, lambda x: x, keep)


def _programs(policy, shape, sampler, stop_ids, mesh):
  write = engine.writing(policy, shape, sampler, stop_ids)
  append = engine.appending(policy, shape, write, mesh)
  places = {"out_shardings": sharding.batch_sharding(mesh, 1)}

  def of_rows(decoded, slot):
    return jax.tree.map(lambda x: x[slot], decoded)

  @functools.partial(
    jax.jit, static_argnames="window", donate_argnums=(2, 3), **places
  )
  def begin(
    params,
    key,
    trunk,
    cache,
    prompt_ids,
    samples,
    tokens,
    start,
    cut,
    live,
    limit,
    slot,
    window,
  ):
    keys = sampling.row_keys(key, prompt_ids, samples)
    if cache is None:
      cache = policy.init_cache(cut.shape[0], shape.cache_length)
    decoded, kept = append(
      params,
      engine.Kept(trunk, cache, cut),
      keys,
      tokens,
      start,
      jnp.ones_like(cut),
      live,
      window,
      limit,
    )
    return of_rows(decoded, slot), kept

  @functools.partial(
    jax.jit, static_argnames="window", donate_argnums=2, **places
  )
  def turn(
    params,
    key,
    kept,
    slot,
    prompt_ids,
    samples,
    tokens,
    start,
    length,
    live,
    window,
  ):
    keys = sampling.row_keys(key, prompt_ids, samples)
    decoded, kept = append(
      params, kept, keys, tokens, start, length, live, window
    )
    return of_rows(decoded, slot), kept

  return begin, turn
