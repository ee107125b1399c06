"""Noise: the numbers of `jax.random`, whichever way they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.rollout import noise


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_folding_and_gumbel_noise_are_those_of_jax(kind):
  keys = jax.random.split(jax.random.key(3, impl=kind), 5)
  data = jnp.array([0, 1, 7, 2**31 - 1, 12345], jnp.int32)

  @jax.jit
  def ours(keys, data):
    folded = noise.fold_in(keys, data)
    return jax.random.key_data(folded), noise.gumbel(folded, 9)

  @jax.jit
  def theirs(keys, data):
    folded = jax.vmap(jax.random.fold_in)(keys, data)
    drawn = jax.vmap(lambda key: jax.random.gumbel(key, (9,)))(folded)
    return jax.random.key_data(folded), drawn

  got, want = ours(keys, data), theirs(keys, data)
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_every_key_and_every_column_has_noise_of_its_own():
  keys = jax.random.split(jax.random.key(0), 8)
  drawn = np.asarray(noise.gumbel(keys, 64))
  assert len(np.unique(drawn)) == drawn.size
  # Euler's constant and pi / sqrt(6), to four standard errors.
  assert abs(drawn.mean() - 0.5772) < 4 * 1.2825 / drawn.size**0.5
  assert abs(drawn.std() - 1.2825) < 0.2
