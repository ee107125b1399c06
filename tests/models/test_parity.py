"""Logits are those of transformers, with padding and with a cache.

The golden directories and logits are transformers' own; see make_goldens.py.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.models import hf, policy

GOLDENS = pathlib.Path(__file__).parent / "goldens"
NAMES = sorted(path.name for path in GOLDENS.iterdir())
LENGTH = 20


@functools.cache
def load(name):
  """Configuration, parameters, jitted apply-to-logits, tokens and logits."""
  config = hf.load_config(GOLDENS / name)
  params = hf.load_params(GOLDENS / name, config)
  model = policy.make_policy(config)

  def forward(params, tokens, positions, segments):
    return model.logits(
      params, model.apply(params, tokens, positions, segments)
    )

  with np.load(GOLDENS / name / "logits.npz") as golden:
    tokens, logits = jnp.asarray(golden["tokens"]), golden["logits"]
  return config, params, jax.jit(forward), tokens, logits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layers", ["scan", "unroll"])
def test_logits_are_those_of_transformers(name, layers):
  config, _, _, tokens, want = load(name)
  config = dataclasses.replace(config, layers=layers)
  params = hf.load_params(GOLDENS / name, config)
  model = policy.make_policy(config)
  positions = jnp.tile(jnp.arange(LENGTH), (2, 1))

  @jax.jit
  def forward(params):
    hidden = model.apply(params, tokens, positions, jnp.ones_like(tokens))
    return model.logits(params, hidden)

  np.testing.assert_allclose(forward(params), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_padding_left_and_right_is_inert(name):
  _, params, forward, tokens, want = load(name)
  total = LENGTH + 8  # One shape for every padding: one compilation.
  for left in (0, 1, 7):
    at = jnp.arange(total) - left
    real = jnp.tile((at >= 0) & (at < LENGTH), (2, 1))
    padded = jnp.full((2, total), 63).at[:, left : left + LENGTH].set(tokens)
    positions = jnp.tile(jnp.maximum(at, 0), (2, 1))
    logits = forward(params, padded, positions, real.astype(jnp.int32))
    assert np.isfinite(logits).all()
    got = logits[:, left : left + LENGTH]
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_prefill_and_token_by_token_are_the_whole(name):
  config, params, _, tokens, want = load(name)
  model = policy.make_policy(config)
  extend = jax.jit(model.extend, static_argnums=4)
  positions = jnp.tile(jnp.arange(LENGTH), (2, 1))
  # The prompts of the two rows end at different positions: ragged decoding.
  cache = model.init_cache(2, LENGTH + 3)
  hidden, cache = extend(params, cache, tokens[:, :16], positions[:, :16], 16)
  found = [hidden]
  start = jnp.array([16, 13])
  for step in range(4):
    at = (start + step)[:, None]
    token = jnp.take_along_axis(tokens, at, axis=1)
    hidden, cache = extend(params, cache, token, at, LENGTH)
    found.append(hidden)
  logits = model.logits(params, jnp.concatenate(found, axis=1))
  np.testing.assert_allclose(logits[:, :16], want[:, :16], atol=1e-4, rtol=0)
  for row in range(2):
    wanted = want[row, start[row] : start[row] + 4]
    np.testing.assert_allclose(logits[row, 16:], wanted, atol=1e-4, rtol=0)
