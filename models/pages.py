"""Keys and values of finished sequences, in pages, and how rows go in and out.

A page is `size` slots of one layer, laid out as a piece of the cache is: keys
[pages, K, H, size] and values [pages, K, size, H].
"""

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int

from rlx.models import cache as cache_lib
from rlx.models import config as config_lib
from rlx.models import paged
from rlx.models import place as places

Pool = tuple[cache_lib.Piece, ...]  # One a layer.
Trunk = tuple[paged.Trunk, ...]  # One a layer.


def init(config: config_lib.DecoderConfig, pages: int, size: int) -> Pool:
  """Zeros, in the dtype of the computation."""
  heads, head_dim = config.num_kv_heads, config.head_dim
  zeros = lambda *shape: jnp.zeros((pages, heads, *shape), config.dtype)
  return tuple(
    (zeros(head_dim, size), zeros(size, head_dim))
    for _ in range(config.num_layers)
  )


def load(
  pool: Pool,
  table: Int[Array, "T P"],
  in_place: bool = False,
  mesh: Mesh | None = None,
) -> Trunk:
  """A trunk of every layer whose row `t` is the pages `table[t]`, in order.

  Args:
    in_place: see `rlx.policy.Policy.load`.
    mesh: of the devices that read it.
  """
  place = places.of(mesh) if in_place else None
  if place is not None and paged.fits(pool[0][0]):
    return tuple(paged.Paged(k, v, table, place) for k, v in pool)
  return tuple((_copy(*layer, table),) for layer in pool)


def store(
  pool: Pool,
  pages: Int[Array, " M"],
  start: Int[Array, " M"],
  rows: Int[Array, " M"],
  cache: tuple[cache_lib.Cache, ...],
  trunk: Trunk | None = None,
  cut: Int[Array, " N"] | None = None,
) -> Pool:
  """The pool with rows' slots written to pages; see `rlx.policy.Policy.store`."""
  size = pool[0][1].shape[2]
  at = start[:, None] + jnp.arange(size)[None]
  own = at if cut is None else at - cut[rows][:, None]
  out = []
  for number, (keys, values) in enumerate(pool):
    found = _slots(cache[number], rows, own)
    if trunk is not None:
      layer = trunk[number]
      fork = cache[number][0][0].shape[0] // paged.rows_of(layer)
      shared = _slots(*_around(layer, rows // fork, at))
      is_own = (own >= 0)[..., None, None]
      found = tuple(
        jnp.where(is_own, mine, other)
        for mine, other in zip(found, shared, strict=True)
      )
    key, value = found  # [M, size, K, H]
    keys = keys.at[pages].set(jnp.moveaxis(key, 1, 3), mode="drop")
    values = values.at[pages].set(jnp.moveaxis(value, 1, 2), mode="drop")
    out.append((keys, values))
  return tuple(out)


def _copy(keys, values, table) -> cache_lib.Piece:
  keys, values = (
    jnp.moveaxis(x.at[table].get(mode="clip"), 1, axis)
    for x, axis in ((keys, 3), (values, 2))
  )
  rows, heads, head_dim = keys.shape[:3]
  return (
    keys.reshape(rows, heads, head_dim, -1),
    values.reshape(rows, heads, -1, head_dim),
  )


def _around(trunk: paged.Trunk, rows, at):
  """A copy of what has these slots, and which rows and slots of it they are."""
  if not isinstance(trunk, paged.Paged):
    return trunk, rows, at
  # Whole pages: to pick slots, a TPU would turn the pool around.
  size = trunk.values.shape[2]
  first = at[:, :1] // size
  columns = first + jnp.arange(2)[None]
  columns = jnp.clip(columns, 0, trunk.table.shape[1] - 1)
  piece = _copy(trunk.keys, trunk.values, trunk.table[rows[:, None], columns])
  return (piece,), jnp.arange(len(rows)), at - first * size


def _slots(cache: cache_lib.Cache, rows, at):
  """Keys and values [M, size, K, H] of these slots; the nearest there is."""
  keys = jnp.concatenate([keys for keys, _ in cache], axis=3)
  values = jnp.concatenate([values for _, values in cache], axis=2)
  at = jnp.clip(at, 0, values.shape[2] - 1)
  return keys[rows[:, None], :, :, at], values[rows[:, None], :, at]
