"""Attention on pages where they lie: a trunk that is a table into the pool.

The library has paged attention for TPU (`paged_attention`,
`ragged_paged_attention`) and GPU (`paged_attention`); none fits here. They
divide by a sum that they keep to themselves, so that their result cannot be
merged with the tail's, and R rows of one trunk would read its pages R times.
The kernel below reads a page once for all queries of its trunk. It is for TPU;
elsewhere `pages.load` copies the pages once, and XLA reads the copy.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlx.models import cache as cache_lib
from rlx.models import linear
from rlx.models import place as places

_NEVER = -1e30  # A score that is not seen.
_BYTES = 2**21  # Of pages that one step of the kernel reads,
_PAGES = 8  # and how many these are at the most.
_QUERIES = 1024  # Of all heads, in one step.
_ROW = 128  # Numbers that a TPU stores together.


class Paged(NamedTuple):
  """One layer's trunk: row `t` is pages `table[t]`, one behind the other.

  Attributes:
    keys: [pages, K, H, size]; the pool's own.
    values: [pages, K, size, H].
    table: int [T, P]; a number out of range means the nearest.
    place: static.
  """

  keys: Array
  values: Array
  table: Array
  place: places.Place


Trunk = cache_lib.Cache | Paged  # One layer's, copied or not.


def rows_of(trunk: Trunk) -> int:
  """How many rows a trunk has."""
  if isinstance(trunk, Paged):
    return trunk.table.shape[0]
  return trunk[0][0].shape[0]


def fits(keys: Float[Array, "pages K H size"]) -> bool:
  """Whether the kernel can read such pages as they lie.

  A TPU stores arrays in rows of 128: if neither the head nor the page divides
  into these, the kernel would be given a padded copy of the whole pool.
  """
  return any(size % _ROW == 0 for size in keys.shape[2:])


def attend(
  query: Float[Array, "T K Q H"],
  trunk: Paged,
  until: Int[Array, "T Q"],
) -> tuple[
  Float[Array, "T K Q H"], Float[Array, "T K Q 1"], Float[Array, "T K Q 1"]
]:
  """Softmax over slots below `until`, in float32 and not yet divided.

  Returns `(out, total, largest)`, sums of weights exp(score - largest). A query
  that sees nothing has a `largest` of -1e30, and anything finite. Pages that no
  query sees are not read.
  """
  run = functools.partial(_attend, interpret=trunk.place.interpret)
  arrays = (query, trunk.keys, trunk.values, trunk.table, until)
  rows = "batch" if len(query) % places.parts(trunk.place) == 0 else None
  pool, heads = (None, "kv_heads"), (rows, "kv_heads")
  split = places.split(
    run, trunk.place, (heads, pool, pool, (rows,), (rows,)), (heads,) * 3
  )
  return split(*arrays)


def _attend(query, keys, values, table, until, *, interpret):
  # Imported here: only a TPU's programs need it.
  from jax.experimental import pallas as pl
  from jax.experimental.pallas import tpu as pltpu

  trunks, heads, queries, head_dim = query.shape
  size = values.shape[2]
  block = min(queries, max(_QUERIES // heads // 16, 1) * 16)
  blocks = -(-queries // block)
  pad = blocks * block - queries
  query = jnp.pad(query, ((0, 0), (0, 0), (0, pad), (0, 0)))
  until = jnp.pad(until, ((0, 0), (0, pad)))
  until = jnp.clip(until, 0, table.shape[1] * size)
  # How many pages a block of queries sees.
  used = until.reshape(trunks, blocks, block).max(-1)
  used = (used + size - 1) // size
  count = _together(keys, table.shape[1])
  (keys, swap_keys), (values, swap_values) = map(_as_stored, (keys, values))

  def page(number):
    def index(t, block, step, table, used):
      last = jnp.maximum(used[t * blocks + block] - 1, 0)
      # Beyond, the same page again: what does not change is not read.
      step = jnp.minimum(step, jax.lax.div(last, count))
      at = jnp.minimum(step * count + number, last)
      return table[t * wide + at], 0, 0, 0

    return index

  wide = table.shape[1]
  of_query = lambda t, block, step, *_: (t, 0, block, 0)
  one = lambda width: pl.BlockSpec((1, heads, block, width), of_query)
  out = lambda width: jax.ShapeDtypeStruct(
    (*query.shape[:3], width), jnp.float32
  )
  pages = lambda x: [
    pl.BlockSpec((1, *x.shape[1:]), page(number)) for number in range(count)
  ]
  found = pl.pallas_call(
    functools.partial(
      _kernel,
      blocks=blocks,
      size=size,
      axes=(int(swap_keys), int(swap_values)),
    ),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=2,
      grid=(trunks, blocks, -(-wide // count)),
      in_specs=[
        one(head_dim),
        pl.BlockSpec((1, block, 1), lambda t, block, step, *_: (t, block, 0)),
        *pages(keys),
        *pages(values),
      ],
      out_specs=[one(head_dim), one(1), one(1)],
    ),
    out_shape=[out(head_dim), out(1), out(1)],
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary")
    ),
    interpret=interpret,
    name="paged_attention",
  )(
    jnp.clip(table, 0, len(keys) - 1).reshape(-1),
    used.reshape(-1),
    query,
    until[..., None],
    *([keys] * count),
    *([values] * count),
  )
  return tuple(x[:, :, :queries] for x in found)


def _as_stored(x):
  """Pages with the axis last that a TPU has last, and whether that is a swap.

  Where a page is [128, 64], a TPU keeps its transpose and pads nothing; a kernel
  reads rows as they are written, and would be given a copy of the pool.
  """
  swap = x.shape[3] % _ROW > 0 and x.shape[2] % _ROW == 0
  return (jnp.swapaxes(x, 2, 3) if swap else x), swap


def _together(keys, most: int) -> int:
  """How many pages one step reads: few bytes a step would be all overhead."""
  page = 2 * math.prod(keys.shape[1:]) * keys.dtype.itemsize
  return min(max(_BYTES // page, 1), _PAGES, most)


def _kernel(table, used, query, until, *refs, blocks, size, axes):
  # `axes`: those of a page of keys and of values that a product is summed over.
  del table
  from jax.experimental import pallas as pl

  *pages, out, total, largest = refs
  count = len(pages) // 2
  keys, values = pages[:count], pages[count:]
  heads, block, head_dim = query.shape[1:]
  step = pl.program_id(2)

  @pl.when(step == 0)
  def _():
    out[...] = jnp.zeros(out.shape, jnp.float32)
    total[...] = jnp.zeros(total.shape, jnp.float32)
    largest[...] = jnp.full(largest.shape, _NEVER, jnp.float32)

  @pl.when(step * count < used[pl.program_id(0) * blocks + pl.program_id(1)])
  def _():
    here = jax.lax.broadcasted_iota(jnp.int32, (block, size), 1)
    start = step * count * size
    seen = [start + i * size + here < until[0] for i in range(count)]
    for head in range(heads):
      scores = [_dot(query[0, head], key[0, head], axes[0]) for key in keys]
      scores = [
        jnp.where(visible, score * head_dim**-0.5, _NEVER)
        for visible, score in zip(seen, scores, strict=True)
      ]
      top = functools.reduce(
        jnp.maximum,
        [score.max(-1, keepdims=True) for score in scores],
        largest[0, head],
      )
      scale = jnp.exp(largest[0, head] - top)
      summed, weighed = scale * total[0, head], scale * out[0, head]
      for score, value in zip(scores, values, strict=True):
        weights = jnp.exp(score - top)
        summed += weights.sum(-1, keepdims=True)
        weights = weights.astype(value.dtype)
        weighed += _dot(weights, value[0, head], axes[1])
      out[0, head], total[0, head] = weighed, summed
      largest[0, head] = top


def _dot(left, right, axis):
  return linear.dot(left, right, (1,), (axis,), dtype=jnp.float32)
