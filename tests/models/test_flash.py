"""The library's kernel is attention with a dense mask, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np

from rlx import sharding
from rlx.models import attention, branches, flash
from rlx.models import place as places

ROWS, LENGTH, HEADS, GROUP, WIDTH = 1, 150, 1, 2, 8


def test_rows_are_those_of_a_dense_mask():
  draw = np.random.default_rng(0).normal
  query, key, value, weights = (
    draw(size=(ROWS, LENGTH, HEADS, *rest)).astype(np.float32)
    for rest in ((GROUP, WIDTH), (WIDTH,), (WIDTH,), (GROUP, WIDTH))
  )
  # Three texts, with padding before, between and behind.
  segments = np.repeat([0, 1, 0, 2, 3, 0], [3, 40, 1, 90, 6, 10])[None]
  segments = jnp.asarray(segments.astype(np.int32))

  def weighed(visible):
    def loss(query, key, value):
      out = attention.attend(query, key, value, visible)
      return (out * weights).sum(), out

    both = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    return jax.jit(both)(query, key, value)

  kernel = flash.Rows(segments, places.Place(mesh=None, interpret=True))
  (_, got), to_got = weighed(kernel)
  (_, want), to_want = weighed(branches.visible(segments))
  np.testing.assert_allclose(got, want, atol=2e-6, rtol=0)
  for a, b in zip(to_got, to_want, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)


def test_the_mask_is_dense_where_there_is_no_kernel():
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
  segments = jnp.ones((2, 256), jnp.int32)
  assert flash.rows(segments, "bfloat16", None) is None
  assert flash.rows(segments, "bfloat16", mesh) is None


class Chip:
  """A device that is not here."""

  platform = "tpu"


def test_a_kernel_takes_long_rows_of_bfloat16_that_divide():
  mesh = jax.sharding.Mesh(
    np.array([Chip() for _ in range(2)]).reshape(2, 1, 1, 1, 1), sharding.AXES
  )
  takes = lambda rows, length, dtype: isinstance(
    flash.rows(jnp.ones((rows, length), jnp.int32), dtype, mesh), flash.Rows
  )
  assert takes(2, 256, "bfloat16")
  assert not takes(3, 256, "bfloat16")
  assert not takes(2, 127, "bfloat16")
  assert not takes(2, 256, "float32")
