"""The decoder's own laws: masks, layouts, caches, gradients, placement."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from rlx import sharding
from rlx.models import (
  attention,
  block,
  branches,
  cache,
  config,
  decoder,
  linear,
  policy,
)

TINY = config.DecoderConfig(
  vocab_size=32,
  embed_dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  mlp_dim=24,
  qkv_bias=True,
  qk_norm=True,
  init_std=0.3,
)
ROWS, LENGTH = 4, 12
TOKENS = jax.random.randint(jax.random.key(1), (ROWS, LENGTH), 0, 32)
POSITIONS = jnp.tile(jnp.arange(LENGTH), (ROWS, 1))
ONES = jnp.ones_like(TOKENS)


@functools.cache
def params_of():
  return jax.jit(policy.make_policy(TINY).init)(jax.random.key(0))


def loss(model, params, tokens, positions, segments):
  hidden = model.apply(params, tokens, positions, segments)
  logits = model.logits(params, hidden)
  return jnp.square(jax.nn.log_softmax(logits)).mean()


def unstack(params):
  """A stack's parameters as those of separate layers."""
  out = {key: value for key, value in params.items() if key != "layers"}
  for index in range(TINY.num_layers):
    out[f"layers_{index}"] = decoder.layer_params(params, index)
  return out


def close(got, want, tolerance=2e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=tolerance * np.abs(b).max(), rtol=0
    ),
    got,
    want,
  )


@functools.cache
def reference():
  """Gradient of the plain configuration."""
  model = policy.make_policy(TINY)
  gradient = jax.jit(jax.grad(functools.partial(loss, model)))
  return gradient(params_of(), TOKENS, POSITIONS, ONES)


@pytest.mark.parametrize(
  "layers,remat", [("scan", "block"), ("unroll", "none")]
)
def test_scan_and_remat_change_nothing(layers, remat):
  made = dataclasses.replace(TINY, layers=layers, remat=remat)
  model = policy.make_policy(made)
  params, want = params_of(), reference()
  if layers == "unroll":
    params, want = unstack(params), unstack(want)
  gradient = jax.jit(jax.grad(functools.partial(loss, model)))
  close(gradient(params, TOKENS, POSITIONS, ONES), want)


def test_bfloat16_computes_near_float32_and_keeps_float32_gradients():
  model = policy.make_policy(dataclasses.replace(TINY, dtype="bfloat16"))
  params, shape_of = params_of(), jax.eval_shape
  hidden = shape_of(model.apply, params, TOKENS, POSITIONS, ONES)
  assert hidden.dtype == jnp.bfloat16
  assert shape_of(model.logits, params, hidden).dtype == jnp.float32
  assert model.init_cache(1, 2)[0][0][0].dtype == jnp.bfloat16
  gradient = jax.jit(jax.grad(functools.partial(loss, model)))
  found = gradient(params, TOKENS, POSITIONS, ONES)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32"}
  close(found, reference(), tolerance=0.1)


def test_a_token_sees_its_own_segment_up_to_itself():
  segments = jnp.array([[1, 1, 2, 2, 0, 0]])
  want = [
    [1, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [0, 0, 1, 0, 0, 0],
    [0, 0, 1, 1, 0, 0],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 1, 1],
  ]
  np.testing.assert_array_equal(branches.visible(segments)[0], want)


def test_packed_rows_have_the_features_of_separate_rows():
  model = policy.make_policy(TINY)
  apply = jax.jit(model.apply)
  whole = apply(params_of(), TOKENS, POSITIONS, ONES)
  # Rows 0 and 1 are cut to 7 and 5 tokens and put side by side in one row.
  packed = jnp.concatenate([TOKENS[0, :7], TOKENS[1, :5]])[None]
  positions = jnp.concatenate([jnp.arange(7), jnp.arange(5)])[None]
  segments = jnp.array([[1] * 7 + [2] * 5])
  fill = lambda x: jnp.tile(x, (ROWS, 1))  # The same shape: compiled once.
  found = apply(params_of(), fill(packed), fill(positions), fill(segments))[0]
  close(found, jnp.concatenate([whole[0, :7], whole[1, :5]]))


# Rows above 256 tokens go through the kernel of CPUs in parts.
@pytest.mark.parametrize("kv_heads,length", [(1, 6), (4, 6), (2, 300)])
def test_the_kernels_of_all_platforms_agree(kv_heads, length):
  keys = jax.random.split(jax.random.key(0), 3)
  query = (2, length, kv_heads, 4 // kv_heads, 4)
  query = jax.random.normal(keys[0], query)
  key, value = (
    jax.random.normal(k, (2, length, kv_heads, 4)) for k in keys[1:]
  )
  segments = jnp.arange(length)[None] // jnp.array([[length // 2], [4]])
  visible = branches.visible(segments)

  @functools.partial(jax.jit, static_argnums=0)
  def run(kernel, query, key, value):
    call = lambda *operands: kernel(*operands, visible)
    out, pull = jax.vjp(call, query, key, value)
    return out, pull(jnp.sin(query))

  want = run(attention._attend_library, query, key, value)
  close(run(attention.attend, query, key, value), want)


def test_products_and_gate_have_the_derivatives_of_their_formulas():
  x = jax.random.normal(jax.random.key(0), (2, 3, 4))
  into = jax.random.normal(jax.random.key(1), (4, 2, 5))
  back = jax.random.normal(jax.random.key(2), (4, 5))

  def ours(x, into, back):
    gated = linear.swiglu(linear.read(x, into))
    return jnp.sin(linear.write(gated, back)).sum()

  def formula(x, into, back):
    both = jnp.einsum("bld,dcf->blcf", x, into)
    gated = both[:, :, 0] * jax.nn.sigmoid(both[:, :, 0]) * both[:, :, 1]
    return jnp.sin(jnp.einsum("blf,df->bld", gated, back)).sum()

  every = (0, 1, 2)
  close(
    jax.grad(ours, every)(x, into, back),
    jax.grad(formula, every)(x, into, back),
  )


def test_rms_norm_is_its_formula():
  x = jnp.array([[3.0, -4.0]])  # Mean square 12.5, with eps 3.5 it is 16.
  scale = jnp.array([1.0, 2.0])
  np.testing.assert_allclose(block.rms_norm(x, scale, 3.5), [[0.75, -2.0]])


def test_chunks_at_ragged_positions_are_the_whole(monkeypatch):
  monkeypatch.setattr(cache, "_SMALLEST", 4)  # Four pieces of 4 slots.
  model = policy.make_policy(TINY)
  params = params_of()
  whole = jax.jit(model.apply)(params, TOKENS, POSITIONS, ONES)
  extend = jax.jit(model.extend, static_argnums=4)
  kept = model.init_cache(ROWS, 16)
  assert len(kept[0]) == 4
  start = jnp.array([5, 4, 3, 2])
  # The prompts are padded to 5; what padding wrote is overwritten.
  hidden, kept = extend(params, kept, TOKENS[:, :5], POSITIONS[:, :5], 5)
  for chunk, window in ((3, 8), (1, 12), (1, 16)):
    at = start[:, None] + jnp.arange(chunk)[None]
    tokens = jnp.take_along_axis(TOKENS, at, axis=1)
    hidden, kept = extend(params, kept, tokens, at, window)
    want = jnp.take_along_axis(whole, at[..., None], axis=1)
    close(hidden, want)
    start += chunk


@pytest.mark.parametrize(
  "length,sizes",
  [
    (1, [1]),
    (96, [64, 32]),
    (512, [64] * 8),
    (513, [128] * 4 + [1]),
    (4096, [512] * 8),
  ],
)
def test_a_cache_is_cut_into_at_most_eight_pieces(length, sizes):
  made = jax.eval_shape(lambda: cache.init(TINY, 3, length))
  assert [keys.shape for keys, _ in made] == [(3, 2, 4, n) for n in sizes]
  assert [values.shape for _, values in made] == [(3, 2, n, 4) for n in sizes]


def test_a_position_beyond_the_cache_is_dropped():
  model = policy.make_policy(TINY)
  kept = model.init_cache(ROWS, 4)
  extend = jax.jit(model.extend, static_argnums=4)
  at = jnp.full((ROWS, 1), 4)
  _, new = extend(params_of(), kept, TOKENS[:, :1], at, 4)
  jax.tree.map(np.testing.assert_array_equal, new, kept)


def test_a_parameter_does_not_depend_on_what_else_there_is():
  less = dataclasses.replace(TINY, qk_norm=False, qkv_bias=False)
  fewer = jax.jit(policy.make_policy(less).init)(jax.random.key(0))
  for name, value in fewer["layers"].items():
    np.testing.assert_array_equal(value, params_of()["layers"][name])
  np.testing.assert_array_equal(fewer["embed"], params_of()["embed"])


def test_initial_weights_have_the_stated_deviation():
  params = params_of()
  narrow = 0.3 / (2 * TINY.num_layers) ** 0.5
  for name, std in (("qkv", 0.3), ("gate_up", 0.3), ("out", narrow)):
    found = float(params["layers"][name].std())
    np.testing.assert_allclose(found, std, rtol=0.1)


@pytest.mark.parametrize("layers", ["scan", "unroll"])
def test_every_parameter_has_logical_axes(layers):
  model = policy.make_policy(dataclasses.replace(TINY, layers=layers))
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  known = {*sharding.RULES, None}

  def check(shape, axes):
    assert len(axes) == len(shape.shape)
    assert known >= set(axes)

  jax.tree.map(check, shapes, model.axes)


def test_sharding_changes_nothing():
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2))

  def constrain(x, axes):
    place = NamedSharding(mesh, sharding.spec(axes))
    return jax.lax.with_sharding_constraint(x, place)

  model = policy.make_policy(TINY, constrain)
  places = sharding.shardings(model.axes, mesh)
  batch = sharding.batch_sharding(mesh)
  gradient = jax.jit(
    jax.grad(functools.partial(loss, model)),
    in_shardings=(places, batch, batch, batch),
    out_shardings=places,
  )
  found = gradient(params_of(), TOKENS, POSITIONS, ONES)
  close(found, reference())
