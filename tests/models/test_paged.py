"""Attention on pages where they lie is attention on a copy of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from rlx import sharding
from rlx.models import attention, config, paged, pages, policy
from rlx.models import place as places

HEADS, GROUP, WIDTH = 2, 2, 8
HERE = places.Place(mesh=None, interpret=True)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
  # Few pages a step, so that short trunks take several.
  monkeypatch.setattr(paged, "_PAGES", 2)


def random(number, *shape):
  # NumPy's: a jax.random would be compiled for every shape.
  drawn = np.random.default_rng(number).normal(size=shape)
  return jnp.asarray(drawn.astype(np.float32))


def in_place(pool, table, place=HERE):
  """What `pages.load` returns on a TPU, run in XLA's operations."""
  return tuple(paged.Paged(k, v, table, place) for k, v in pool)


def example(fork, chunk, size, count, heads=HEADS, dtype=jnp.float32):
  """Queries, own cache, slots, a pool of one layer, its table and cuts.

  Cuts are ragged: nothing, one slot, about the borders of a page, everything.
  """
  full = count * size
  cut = [0, 1, size - 1, size, size + 1, full - 1, full, 0]
  trunks = max(len(cut) // fork, 1)
  rows = trunks * fork
  cut = jnp.asarray(np.array(cut * (rows // len(cut)), np.int32))
  query = random(0, rows, chunk, heads, GROUP, WIDTH).astype(dtype)
  own = tuple(
    (random(i, rows, heads, WIDTH, 4), random(i + 9, rows, heads, 4, WIDTH))
    for i in (1, 2)
  )
  slots = np.tile(np.arange(chunk, dtype=np.int32) + 2, (rows, 1))
  number = trunks * count + 3
  pool = (
    random(3, number, heads, WIDTH, size),
    random(4, number, heads, size, WIDTH),
  )
  table = np.random.default_rng(5).permutation(number)[:-3].astype(np.int32)
  own, pool = jax.tree.map(lambda x: x.astype(dtype), (own, pool))
  table = jnp.asarray(table.reshape(trunks, count))
  return query, own, jnp.asarray(slots), pool, table, cut


def unseen(table, cut, size):
  """Numbers of the pages that are beyond every cut."""
  fork = len(cut) // len(table)
  longest = np.asarray(cut).reshape(-1, fork).max(1)
  starts = np.arange(table.shape[1]) * size
  return np.asarray(table)[starts >= longest[:, None]]


def _attend(query, own, slots, pool, table, cut, place):
  trunk = (
    pages.load((pool,), table)
    if place is None
    else in_place((pool,), table, place)
  )
  return attention.attend_cached(query, own, slots, trunk[0], cut)


attend = jax.jit(_attend, static_argnames="place")


@pytest.mark.parametrize(
  "fork,chunk,size,count,heads,dtype,tolerance",
  [
    (1, 1, 16, 5, 1, jnp.float32, 1e-6),
    (8, 3, 16, 5, 2, jnp.float32, 1e-6),
    (8, 1, 64, 2, 3, jnp.float32, 1e-6),
    (1, 3, 128, 3, 2, jnp.bfloat16, 2e-2),
  ],
)
def test_pages_in_place_are_a_copy_of_them(
  fork, chunk, size, count, heads, dtype, tolerance
):
  found = example(fork, chunk, size, count, heads, dtype)
  query, own, slots, pool, table, cut = found
  want = attend(*found, place=None)
  # What nobody sees may be anything.
  nothing = unseen(table, cut, size)
  assert fork > 1 or len(nothing)
  pool = tuple(x.at[nothing].set(jnp.nan) for x in pool)
  # A number out of range is a page like any other, where nobody sees it.
  table = jnp.where(jnp.isin(table, nothing[:1]), 10**6, table)
  got = attend(query, own, slots, pool, table, cut, place=HERE)
  assert got.dtype == dtype
  np.testing.assert_allclose(
    *(np.asarray(x, np.float32) for x in (got, want)), atol=tolerance, rtol=0
  )


def test_many_queries_go_block_by_block(monkeypatch):
  found = example(8, 3, 16, 3)
  want = attend(*found, place=None)
  monkeypatch.setattr(paged, "_QUERIES", 16 * HEADS)  # 3 blocks of 16.
  got = jax.jit(_attend, static_argnames="place")(*found, place=HERE)
  np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)


def four_devices():
  axes = sharding.MeshConfig(data=2, tensor=2)
  return sharding.make_mesh(axes, jax.devices()[:4])


def test_a_mesh_splits_heads_and_a_lone_trunk_is_everywhere():
  found = example(8, 1, 16, 2)
  got = attend(*found, place=places.Place(four_devices(), interpret=True))
  want = attend(*found, place=None)
  np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("axes", [("data", "fsdp"), sharding.AXES])
def test_devices_with_rows_of_their_own_read_for_these(axes):
  found = example(2, 1, 16, 2)
  mesh = four_devices()
  heads = "tensor" if "tensor" in axes else None
  own = PartitionSpec("data", heads)
  split = jax.shard_map(
    functools.partial(_attend, place=places.Place(mesh, interpret=True)),
    mesh=mesh,
    in_specs=(
      PartitionSpec("data", None, heads),
      ((own, own),) * 2,
      PartitionSpec("data"),
      (PartitionSpec(None, heads),) * 2,
      PartitionSpec("data"),
      PartitionSpec("data"),
    ),
    out_specs=PartitionSpec("data", None, heads),
    axis_names=set(axes),
    check_vma=False,
  )
  want = attend(*found, place=None)
  np.testing.assert_allclose(jax.jit(split)(*found), want, atol=1e-6, rtol=0)


TINY = config.DecoderConfig(
  vocab_size=16,
  embed_dim=8,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  mlp_dim=8,
  init_std=0.5,
)
SIZE = 4
TABLE = jnp.array([[5, 0, 2], [1, 5, 5]])
CUT = jnp.array([9, 6, 2, 0])


@functools.cache
def continued():
  """Of both kinds of trunk: features, logs of a chunk, and the pool after."""
  model = policy.make_policy(TINY)
  params = jax.jit(model.init)(jax.random.key(0))
  pool = jax.tree.map(
    lambda x: random(x.shape[2], *x.shape), model.init_pages(6, SIZE)
  )
  tokens = jax.random.randint(jax.random.key(1), (4, 3), 0, 16)
  # Two of the pages begin in the trunk and end in the row's own cache.
  places = [jnp.array(x) for x in ([3, 4, 9, 1], [8, 4, 0, 4], [0, 1, 0, 2])]

  @jax.jit
  def run(pool, trunk):
    hidden, after = model.extend(
      params,
      model.init_cache(4, 8),
      tokens,
      CUT[:, None] + jnp.arange(3)[None],
      8,
      trunk=trunk,
      cut=CUT,
    )
    return hidden, model.store(pool, *places, after, trunk, CUT)

  copied, seen = model.load(pool, TABLE), in_place(pool, TABLE)
  return run(pool, copied), run(pool, seen), pool


def test_a_policy_continues_from_either_trunk():
  (want, _), (got, _), _ = continued()
  np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)


def test_pages_are_stored_alike_from_either_trunk():
  (_, want), (_, got), before = continued()
  # The first layer's keys know nothing of attention.
  jax.tree.map(np.testing.assert_array_equal, got[0], want[0])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=0), got, want
  )
  # A page that begins in the trunk has the trunk's slots first.
  page = TABLE[0, 2]  # Slots 8 to 11 of trunk row 0, of which row 0 saw one.
  np.testing.assert_array_equal(got[0][1][3][:, :1], before[0][1][page][:, :1])


class Chip:
  """A device that is not here."""

  def __init__(self, platform):
    self.platform = platform


def test_pages_stay_where_they_are_if_that_is_asked_for_and_can_be():
  def kind(platform, size, in_place):
    chip = np.array(Chip(platform)).reshape(1, 1, 1, 1, 1)
    mesh = Mesh(chip, sharding.AXES)
    model = policy.make_policy(TINY, mesh=mesh)
    pool = jax.eval_shape(functools.partial(model.init_pages, 6, size))
    load = functools.partial(model.load, in_place=in_place)
    return type(jax.eval_shape(load, pool, TABLE)[0])

  assert kind("tpu", 128, True) is paged.Paged
  assert kind("tpu", 64, True) is tuple  # Nor is the head a multiple of 128.
  assert kind("tpu", 128, False) is tuple
  assert kind("gpu", 128, True) is tuple
  assert kind("cpu", 128, True) is tuple
