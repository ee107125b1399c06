"""The programs that fill pages, and that put them together again."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlx import policy as policies
from rlx import sharding


class Programs(NamedTuple):
  """Compiled for one policy, size of a page and mesh.

  Attributes:
    init: `(pages) -> pool`.
    grow: `(pool, pages) -> pool`: the same, and empty ones behind.
    fill: `(params, pool, table[F P], cut[F], tokens[F C], pages[M], start[M],
      rows[M], fresh) -> pool`: reads a chunk behind what the table has, and
      stores it. With `fresh` (static) there is nothing before it.
    load: `(pool, table[T P]) -> trunk`.
    merge: `(trunk, other, which[T]) -> trunk`: the other's rows where asked.
    store: `(pool, pages[M], start[M], rows[M], cache, trunk, cut) -> pool`.
  """

  init: Callable[[int], policies.Pool]
  grow: Callable[[policies.Pool, int], policies.Pool]
  fill: Callable[..., policies.Pool]
  load: Callable[..., policies.Cache]
  merge: Callable[..., policies.Cache]
  store: Callable[..., policies.Pool]


def place(mesh: Mesh, x: np.ndarray) -> Any:
  """Returns an array of rows, split over the mesh if that comes out even."""
  if mesh.devices.size == 1:
    return x  # A program takes it along faster than it is put there.
  return sharding.place_rows(mesh, x)


def shapes(mesh: Mesh, program: Callable, *args: Any, **settings: Any) -> Any:
  """Returns the shapes and placements of what such a program returns."""
  place = sharding.batch_sharding(mesh, 1)
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    jax.eval_shape(functools.partial(program, **settings), *args),
  )


def compile_(policy: policies.Policy, size: int, mesh: Mesh) -> Programs:
  """Returns the programs; nothing is compiled before it is called."""
  split = sharding.batch_sharding(mesh, 1)
  alone = sharding.batch_devices(mesh) == 1  # The pool is whole.

  def fill(params, pool, table, cut, tokens, pages, start, rows, fresh):
    chunk = tokens.shape[1]
    trunk: dict[str, Any] = {}
    if not fresh:
      trunk = {"trunk": policy.load(pool, table, in_place=alone), "cut": cut}
    index = jnp.arange(chunk, dtype=jnp.int32)[None]
    _, cache = policy.extend(
      params,
      policy.init_cache(tokens.shape[0], chunk),
      tokens,
      cut[:, None] + index,
      chunk,
      **trunk,
    )
    return policy.store(pool, pages, start, rows, cache, **trunk)

  def init(num):
    return policy.init_pages(num, size)

  def grow(pool, num):
    return jax.tree.map(
      lambda old, new: new.at[: len(old)].set(old), pool, init(num)
    )

  def merge(trunk, other, which):
    def pick(one, two):
      asked = which.reshape(-1, *[1] * (one.ndim - 1))
      return jnp.where(asked, two, one)

    return jax.tree.map(pick, trunk, other)

  return Programs(
    init=jax.jit(init, static_argnums=0, out_shardings=split),
    grow=jax.jit(grow, static_argnums=1, out_shardings=split),
    fill=jax.jit(
      fill, static_argnames="fresh", donate_argnums=1, out_shardings=split
    ),
    load=jax.jit(policy.load, out_shardings=split),
    merge=jax.jit(merge, donate_argnums=0, out_shardings=split),
    store=jax.jit(policy.store, donate_argnums=0, out_shardings=split),
  )
