"""Parameters for decoding: a stack of layers is taken apart once, and rounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny


def test_a_stack_becomes_the_layers_of_an_unrolled_decoder():
  model, unrolled = tiny.decoder(layers="scan"), tiny.decoder(layers="unroll")
  params = tiny.params(model)
  found = model.prepare(params)
  want = jax.eval_shape(unrolled.init, jax.random.key(0))
  assert jax.tree.structure(found) == jax.tree.structure(want)
  for layer in range(tiny.DECODER.num_layers):
    np.testing.assert_array_equal(
      found[f"layers_{layer}"]["qkv"], params["layers"]["qkv"][layer]
    )


def test_what_is_apart_already_is_left_alone():
  model = tiny.decoder(layers="unroll")
  params = tiny.params(model)
  assert model.prepare(params) is params


@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_rounded_once_to_the_same_bits(tied):
  model = tiny.decoder(dtype="bfloat16", qkv_bias=True, tied_embeddings=tied)
  params = tiny.params(model)

  @jax.jit
  def both(params):
    rows = jnp.arange(6, dtype=jnp.int32).reshape(2, 3)
    found = []
    for chosen in (params, model.prepare(params)):
      cache = model.init_cache(2, 4)
      hidden, cache = model.extend(chosen, cache, rows, rows % 3, 4)
      found.append((model.logits(chosen, hidden), cache))
    return found

  one, other = both(params)
  jax.tree.map(np.testing.assert_array_equal, one, other)
  once = model.prepare(params)
  for path, x in jax.tree_util.tree_leaves_with_path(once):
    norm = "norm" in jax.tree_util.keystr(path)
    assert x.dtype == (jnp.float32 if norm else jnp.bfloat16)
  jax.tree.map(np.testing.assert_array_equal, model.prepare(once), once)


def test_prepared_parameters_decode_the_same():
  model = tiny.decoder(layers="scan")
  params = tiny.params(model)

  @jax.jit
  def decode(params):
    rows = jnp.zeros((2, 1), jnp.int32)
    cache = model.init_cache(2, 4)
    hidden, _ = model.extend(params, cache, rows + 3, rows + 1, 4)
    return model.logits(params, hidden)

  np.testing.assert_allclose(
    decode(model.prepare(params)), decode(params), rtol=1e-6, atol=1e-7
  )
