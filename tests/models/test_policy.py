"""Decoders as policies and values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.models import config, policy

TINY = config.DecoderConfig(
  vocab_size=16,
  embed_dim=8,
  num_layers=1,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  mlp_dim=8,
  init_std=0.5,
)
TOKENS = jax.random.randint(jax.random.key(1), (2, 6), 0, 16)
POSITIONS = jnp.tile(jnp.arange(6), (2, 1))
ONES = jnp.ones_like(TOKENS)


@functools.cache
def make(own_network):
  """A value with a head that is not zero, and its values as a function."""
  trunk = policy.make_policy(TINY)
  trunk_params = jax.jit(trunk.init)(jax.random.key(0))
  value = policy.make_value(TINY, own_network=own_network)
  params = jax.jit(value.init)(jax.random.key(2))
  params["head"] = {"weight": jnp.arange(8.0), "bias": jnp.array(0.5)}

  @jax.jit
  def values(tokens, segments):
    hidden = trunk.apply(trunk_params, tokens, POSITIONS, segments)
    return value.apply(params, tokens, POSITIONS, segments, hidden)

  return lambda *arrays: np.asarray(values(*arrays))


@pytest.mark.parametrize("own_network", [False, True])
def test_a_value_depends_on_earlier_tokens_only(own_network):
  values = make(own_network)
  before = values(TOKENS, ONES)
  for t in range(6):
    changed = values(TOKENS.at[:, t].set((TOKENS[:, t] + 1) % 16), ONES)
    np.testing.assert_array_equal(changed[:, : t + 1], before[:, : t + 1])
    if t < 5:
      assert (changed[:, t + 1] != before[:, t + 1]).all()


@pytest.mark.parametrize("own_network", [False, True])
def test_a_segment_begins_with_the_bias_alone(own_network):
  values = make(own_network)
  segments = jnp.array([[1, 1, 1, 2, 2, 2], [0, 0, 1, 1, 1, 0]])
  found = values(TOKENS, segments)
  assert (found[:, 0] == 0.5).all()
  assert found[0, 3] == 0.5
  assert found[1, 2] == 0.5
  assert (found[0, [1, 2, 4, 5]] != 0.5).all()


@pytest.mark.parametrize("own_network", [False, True])
def test_a_fresh_value_is_zero(own_network):
  value = policy.make_value(TINY, own_network=own_network)
  params = jax.jit(value.init)(jax.random.key(0))
  hidden = jnp.ones((2, 6, 8))
  found = jax.jit(value.apply)(params, TOKENS, POSITIONS, ONES, hidden)
  np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize("own_network", [False, True])
def test_axes_are_a_tree_like_the_parameters(own_network):
  value = policy.make_value(TINY, own_network=own_network)
  shapes = jax.eval_shape(value.init, jax.random.key(0))
  ranks = jax.tree.map(
    lambda leaf, axes: leaf.ndim == len(axes), shapes, value.axes
  )
  assert all(jax.tree.leaves(ranks))
