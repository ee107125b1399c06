"""Attention of whole rows that never holds its scores: the library's kernel.

Splash attention (`jax.experimental.pallas.ops.tpu.splash_attention`) skips what
is after a query, forwards and backwards. It is for TPU, for rows without a
forest: it knows segments, not paths. It rounds float32 to bfloat16, as a TPU
does unless told otherwise, so that float32 keeps the dense mask.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from rlx.models import place as places

_BLOCK = 128  # What the kernel's blocks are multiples of,
_LARGEST = 512  # and the most that one is.


class Rows(NamedTuple):
  """Keys are visible to later queries of the same segment, and to their own.

  Attributes:
    segments: int [B L].
    place: static.
  """

  segments: Array
  place: places.Place


def rows(
  segments: Int[Array, "B L"], dtype: str, mesh: Mesh | None
) -> Rows | None:
  """What `attend` takes; None: a dense mask does better, or there is no kernel."""
  place = places.of(mesh)
  if place is None or dtype != "bfloat16" or segments.shape[1] < _BLOCK:
    return None
  even = segments.shape[0] % places.parts(place) == 0
  return Rows(segments, place) if even else None


def attend(
  query: Float[Array, "B L K G H"],
  key: Float[Array, "B L K H"],
  value: Float[Array, "B L K H"],
  visible: Rows,
) -> Float[Array, "B L K G H"]:
  """As `rlx.models.attention.attend`."""
  run = functools.partial(_attend, interpret=visible.place.interpret)
  arrays = (query, key, value, visible.segments)
  heads = ("batch", None, "kv_heads")
  split = places.split(run, visible.place, (heads,) * 3 + (("batch",),), heads)
  return split(*arrays)


def _attend(query, key, value, segments, *, interpret):
  # Imported here: only a TPU's programs need it.
  from jax.experimental.pallas.ops.tpu import splash_attention as splash

  batch, length, kv_heads, group, head_dim = query.shape
  whole = -(-length // _BLOCK) * _BLOCK

  def by_head(x):
    """[B N whole H]; what is added comes after all that is."""
    x = x.reshape(batch, length, -1, head_dim)
    x = jnp.pad(x, ((0, 0), (0, whole - length), (0, 0), (0, 0)))
    return jnp.swapaxes(x, 1, 2)

  segments = jnp.pad(segments, ((0, 0), (0, whole - length)))
  kernel = splash.make_splash_mha_single_device(
    splash.MultiHeadMask(
      [splash.CausalMask((whole, whole))] * (kv_heads * group)
    ),
    block_sizes=_blocks(splash, whole),
    interpret=interpret,
  )
  out: Any = jax.vmap(kernel)(
    by_head(query * head_dim**-0.5),
    by_head(key),
    by_head(value),
    splash.SegmentIds(segments, segments),
  )
  return jnp.swapaxes(out, 1, 2)[:, :length].reshape(query.shape)


def _blocks(splash, whole: int):
  size = next(n for n in (_LARGEST, 256, _BLOCK) if whole % n == 0)
  names = (
    *("block_q", "block_kv", "block_kv_compute", "block_q_dkv"),
    *("block_kv_dkv", "block_kv_dkv_compute", "block_q_dq", "block_kv_dq"),
  )
  return splash.BlockSizes(**dict.fromkeys(names, size))
