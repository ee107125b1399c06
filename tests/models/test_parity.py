"""Logits are those of transformers, with padding and with a cache.

The golden directories and logits are transformers' own; see make_goldens.py.
"""

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


TOTAL = LENGTH + 8  # One shape for every padding: one compilation.


@functools.cache
def load(name):
  """Configuration, parameters, tokens and the logits of transformers."""
  config = hf.load_config(GOLDENS / name)
  params = hf.load_params(GOLDENS / name, config)
  with np.load(GOLDENS / name / "logits.npz") as golden:
    return config, params, jnp.asarray(golden["tokens"]), golden["logits"]


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers_whatever_the_padding(name):
  config, params, tokens, want = load(name)
  model = policy.make_policy(config)

  @jax.jit
  def forward(params, tokens, positions, segments):
    hidden = model.apply(params, tokens, positions, segments)
    return model.logits(params, hidden)

  for left in (0, 1, 7):  # And 8, 7, 1 on the right.
    at = jnp.arange(TOTAL) - left
    real = jnp.tile((at >= 0) & (at < LENGTH), (2, 1))
    padded = jnp.full((2, TOTAL), 63).at[:, left : left + LENGTH].set(tokens)
    positions = jnp.tile(jnp.maximum(at, 0), (2, 1))
    logits = forward(params, padded, positions, real.astype(jnp.int32))
    assert np.isfinite(logits).all()
    got = logits[:, left : left + LENGTH]
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_prefill_and_token_by_token_are_those_of_transformers(name):
  config, params, tokens, want = load(name)
  model = policy.make_policy(config)

  @jax.jit
  def forward(params, tokens):
    positions = jnp.tile(jnp.arange(12), (2, 1))
    cache = model.init_cache(2, LENGTH)
    prefilled, cache = model.extend(
      params, cache, tokens[:, :12], positions, 12
    )

    def step(cache, at):
      token = jnp.take_along_axis(tokens, at[:, None], axis=1)
      hidden, cache = model.extend(params, cache, token, at[:, None], LENGTH)
      return cache, hidden[:, 0]

    # Row 1 goes back to position 9: rows need not be at the same position.
    starts = jnp.arange(8)[:, None] + jnp.array([[12, 9]])
    _, hidden = jax.lax.scan(step, cache, starts)
    return model.logits(params, prefilled), model.logits(params, hidden)

  prefilled, stepped = forward(params, tokens)
  np.testing.assert_allclose(prefilled, want[:, :12], atol=1e-4, rtol=0)
  for row, start in ((0, 12), (1, 9)):
    wanted = want[row, start : start + 8]
    np.testing.assert_allclose(stepped[:, row], wanted, atol=1e-4, rtol=0)
