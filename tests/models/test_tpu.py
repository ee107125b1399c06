"""A TPU's compiler takes the kernel as it is, without a TPU."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from rlx.models import paged

TRUNKS, HEADS, PAGES, TABLE = 4, 8, 500, 6


@pytest.fixture
def nothing_cached():
  # What is compiled for devices that are not here cannot be read back.
  name = "jax_persistent_cache_min_compile_time_secs"
  before = getattr(jax.config, name)
  jax.config.update(name, 1e9)
  yield
  jax.config.update(name, before)


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("head_dim,size", [(128, 128), (128, 64), (64, 128)])
def test_pages_are_read_without_a_copy_of_the_pool(monkeypatch, head_dim, size):
  pytest.importorskip("libtpu")
  monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")  # Asks nobody where it runs.
  chips = topologies.get_topology_desc(
    platform="tpu", topology_name="v5e:2x4"
  ).devices
  shape = functools.partial(
    jax.ShapeDtypeStruct, sharding=SingleDeviceSharding(chips[0])
  )
  page = (HEADS, head_dim, size)
  kernel = functools.partial(paged._attend, interpret=False)
  program = (
    jax.jit(kernel)
    .lower(
      shape((TRUNKS, HEADS, 16, head_dim), jnp.bfloat16),
      shape((PAGES, *page), jnp.bfloat16),
      shape((PAGES, HEADS, size, head_dim), jnp.bfloat16),
      shape((TRUNKS, TABLE), jnp.int32),
      shape((TRUNKS, 16), jnp.int32),
    )
    .compile()
  )
  assert "tpu_custom_call" in (program.as_text() or "")
  pool = 2 * PAGES * HEADS * head_dim * size
  used = program.memory_analysis()
  assert used is not None
  assert used.temp_size_in_bytes < pool / 100
