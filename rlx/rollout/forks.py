"""The programs that go on from prefixes which the memory has, or then reads.

To whoever draws this is an engine like any other: it is given prompts, and
samples of each are drawn. But what prompts have in common, among them and with
whatever was kept, is read once, and looked at by all rows that share it at once.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlx import policy as policies
from rlx import sharding
from rlx.rollout import decode, engine, pages, prefixes, sampling
from rlx.rollout import memory as memories

# Prompts that may share a trunk.
SHARE = 8


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


class Layout(NamedTuple):
  """Prompts dealt out to trunks.

  Attributes:
    trunks: the prompts of each; its first is what it holds.
    num: trunks there are room for.
    most: prompts of one.
    cut: int [P], tokens that a prompt has of its trunk.
    own: most pages that a row has of its own.
  """

  trunks: list[list[int]]
  num: int
  most: int
  cut: np.ndarray
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
  group, ways = shape.num_samples, _ways(shape, memory)
  place = lambda x: jax.device_put(x, sharding.batch_sharding(mesh, x.ndim))

  def lay_out(prompts) -> Layout:
    while True:
      layout = arrange(prompts, memory.size, *ways[0])
      slots = len(prompts) if layout is None else layout.num * layout.most
      if layout is not None and slots * group % devices == 0:
        return layout
      ways.pop(0)  # For good, as each has to be compiled.

  def first(params, key, prompt_ids, tokens, length, limit=None):
    prompts = [tokens[p, : length[p]] for p in range(len(length))]
    layout = lay_out(prompts)
    slot, row = _slots(layout, len(length), group)
    alone = layout.num % devices != 0
    tables = functools.partial(
      _tables, layout, prompts, memory, shape, slot.reshape(-1, group), alone
    )
    trunk, *own = memory.load(params, [x[:-1] for x in prompts], tables)
    at = np.maximum(row, 0) // group
    decoded, kept = begin(
      params,
      key,
      trunk,
      own[0] if own else None,
      place(prompt_ids[at].astype(np.int32)),
      place((np.maximum(row, 0) % group).astype(np.int32)),
      place(tokens[at, length[at] - 1][:, None].astype(np.int32)),
      place((length[at] - 1).astype(np.int32)),
      place(layout.cut[at]),
      place(row >= 0),
      None if limit is None else place(limit[np.maximum(row, 0)]),
      slot,
      window=layout.own * memory.size + shape.window(0),
    )
    return decoded, Kept(kept, slot, row, layout.own * memory.size)

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
      shape.rows * own,
    )

  return engine.Engine(shape, first, go_on, lambda x: x, keep)


def arrange(
  prompts: Sequence[np.ndarray], size: int, most: int, own: int
) -> Layout | None:
  """Returns prompts dealt out to trunks, or None if that cannot be.

  A trunk has `most` prompts, neighbours in alphabetical order, and holds the
  first. Of each of the others it is that much that they have in common; what
  the last token stands behind further, in whole pages, is the rows' own. There
  is room for as many trunks as it takes if all are full.

  Args:
    size: of a page.
    own: pages that a row may have of its own.
  """
  most = min(most, len(prompts))
  num = -(-len(prompts) // most)
  cut = np.array([len(x) - 1 for x in prompts], np.int32)
  texts = [x.astype(">i4").tobytes() for x in prompts]
  trunks: list[list[int]] = []
  # Backwards, what a prompt is a prefix of comes right before it.
  for number in sorted(range(len(texts)), key=lambda k: texts[k], reverse=True):
    last, shared = trunks[-1] if trunks else [], 0
    if last:  # The last token of a trunk's first is not in it.
      same = prefixes.common(texts[last[0]], texts[number])
      shared = min(same, len(prompts[last[0]]) - 1)
    behind = 0
    if shared < cut[number]:
      behind = pages.needed(int(cut[number]), size) - shared // size
    if 0 < len(last) < most and behind <= own:
      last.append(number)
      cut[number] = shared // size * size if behind else cut[number]
    elif len(trunks) == num:
      return None
    else:
      trunks.append([number])
  return Layout(trunks, num, most, cut, own)


def _ways(shape: engine.Shape, memory: memories.Memory):
  """Returns what is tried, in order: prompts of a trunk, and own pages."""
  ways = [(SHARE, 0), (1, 0)]
  if shape.num_samples <= SHARE:  # Else their copies take more than trunks.
    own = -(-memory.width // SHARE)
    ways[1:1] = [(SHARE, own), (SHARE // 2, own)]
  return ways


def _tables(layout, prompts, memory, shape, slots, alone, ready):
  """Returns the pages of trunks, and those that rows have of their own."""
  size, fork = memory.size, layout.most * slots.shape[1]
  need = max(pages.needed(len(x) - 1, size) for x in prompts)
  width = next(x for x in memory.widths if x >= need)
  trunk = memories.Table(
    np.zeros((layout.num, width), np.int32), np.zeros(layout.num, bool)
  )
  for number, (head, *_) in enumerate(layout.trunks):
    if head in ready:
      trunk.pages[number, : len(ready[head])] = ready[head]
      trunk.which[number] = True
  if alone:
    trunk = memories.Table(*(np.repeat(x, fork, 0) for x in trunk))
  if not layout.own:
    return [trunk]
  rows = layout.num * fork
  width = layout.own + pages.needed(shape.cache_length, size)
  own = memories.Table(np.zeros((rows, width), np.int32), np.zeros(rows, bool))
  for number, ids in ready.items():
    if layout.cut[number] < len(prompts[number]) - 1:
      mine = ids[layout.cut[number] // size :]
      own.pages[slots[number], : len(mine)] = mine
      own.which[slots[number]] = True
  return [trunk, own]


def _slots(layout: Layout, num: int, group: int):
  """Returns the slot of each row, and the row of each slot or -1."""
  slot = np.zeros((num, group), np.int32)
  for trunk, prompts in enumerate(layout.trunks):
    for place, prompt in enumerate(prompts):
      slot[prompt] = (trunk * layout.most + place) * group + np.arange(group)
  row = np.full(layout.num * layout.most * group, -1, np.int64)
  slot = slot.reshape(-1)
  row[slot] = np.arange(len(slot))
  return slot, row


def _programs(policy, shape, sampler, stop_ids, mesh):
  write = functools.partial(
    decode.decode,
    policy,
    sampling=sampler,
    stop_ids=stop_ids,
    max_new=shape.action_tokens,
  )
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
