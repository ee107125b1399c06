"""Log-probs of equal shapes are equal to the last bit, whoever computes them.

In float32 on one device. Measured where shapes differ, as those of one token
from a cache and of a whole row: up to 1.7e-6, which tests hold below 1e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.rollout import decode, sampling
from tests import tiny

MODEL = tiny.decoder(num_layers=1)
PARAMS = tiny.params(MODEL)
ROWS, NEW = 16, 7


@pytest.fixture(scope="module")
def drawn():
  @jax.jit
  def sample(params):
    nobody = jnp.zeros(ROWS, jnp.int32)
    keys = sampling.row_keys(jax.random.key(0), jnp.arange(ROWS), nobody)
    return decode.decode(
      *(MODEL, params, MODEL.init_cache(ROWS, NEW), begin(), nobody),
      *(nobody == 0, keys),
      sampling=sampling.Sampling(),
      stop_ids=(),
      max_new=NEW,
      window=NEW,
    )[0]

  return sample(PARAMS)


def begin():
  """Features before the first token, of no text."""
  return jnp.ones((ROWS, tiny.DECODER.embed_dim))


def test_what_was_drawn_is_scored_token_by_token_to_the_same_bits(drawn):
  @jax.jit
  def score(params, tokens):
    def body(carry, t):
      hidden, cache = carry
      token = jax.lax.dynamic_slice_in_dim(tokens, t, 1, axis=1)
      logits = MODEL.logits(params, hidden)
      own = jnp.take_along_axis(logits, token, axis=-1)[:, 0]
      hidden, cache = MODEL.extend(params, cache, token, 0 * token + t, NEW)
      found = own - jax.nn.logsumexp(logits, axis=-1)
      return (hidden[:, 0], cache), found

    start = begin(), MODEL.init_cache(ROWS, NEW)
    return jax.lax.scan(body, start, jnp.arange(NEW))[1].T

  found = score(PARAMS, drawn.tokens)
  np.testing.assert_array_equal(found, drawn.raw_log_probs)
  np.testing.assert_array_equal(found, drawn.log_probs)


def test_a_row_read_into_a_cache_has_the_bits_of_the_trainers_row(drawn):
  positions = jnp.broadcast_to(jnp.arange(NEW), drawn.tokens.shape)

  @jax.jit
  def train(params, tokens):
    segments = jnp.ones_like(tokens)
    return MODEL.logits(
      params, MODEL.apply(params, tokens, positions, segments)
    )

  @jax.jit
  def read(params, tokens):
    cache = MODEL.init_cache(ROWS, NEW)
    hidden, _ = MODEL.extend(params, cache, tokens, positions, NEW)
    return MODEL.logits(params, hidden)

  tokens = drawn.tokens
  np.testing.assert_array_equal(train(PARAMS, tokens), read(PARAMS, tokens))
