"""The shift by one, chunks that change nothing, and logits that never exist."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.objective import log_probs as scoring

B, L, D, V = 3, 13, 8, 11
RNG = np.random.default_rng(0)
PARAMS = {
  "kernel": jnp.asarray(RNG.normal(size=(D, V)), jnp.float32),
  "unused": jnp.ones((5, 5)),
}
HIDDEN = jnp.asarray(RNG.normal(size=(B, L, D)), jnp.float32)
TOKENS = jnp.asarray(RNG.integers(0, V, (B, L)), jnp.int32)
MASK = jnp.asarray(RNG.random((B, L)) < 0.4)
LOSS = jnp.asarray(RNG.normal(size=(2, B, L)), jnp.float32)


def logits(params, hidden):
  return hidden @ params["kernel"]


def plain(params, hidden, mask=None):
  """The definition, with all the logits there are."""
  log_p = jax.nn.log_softmax(logits(params, hidden)[:, :-1] / 0.7)
  chosen = jnp.take_along_axis(log_p, TOKENS[:, 1:, None], axis=-1)[..., 0]
  entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
  both = [jnp.pad(x, ((0, 0), (1, 0))) for x in (chosen, entropy)]
  return both if mask is None else [jnp.where(mask, x, 0.0) for x in both]


def value(score):
  """Value and gradient of a loss of both results."""

  def loss(params, hidden):
    log_probs, entropy = score(params, hidden)
    return jnp.sum(LOSS[0] * log_probs + LOSS[1] * entropy), (
      log_probs,
      entropy,
    )

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def score(params, hidden, **kwargs):
  return scoring.token_log_probs(
    logits, params, hidden, TOKENS, temperature=0.7, **kwargs
  )


def close(got, want, atol=1e-5):
  for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
    np.testing.assert_allclose(a, b, atol=atol, rtol=3e-5)


FIRST = jnp.arange(L) > 0  # Nothing predicts the first token.


@pytest.mark.parametrize("chunk_tokens", [None, 1, 12])
def test_values_and_gradients_are_those_of_a_plain_log_softmax(chunk_tokens):
  f = functools.partial(score, chunk_tokens=chunk_tokens)
  close(value(f)(PARAMS, HIDDEN), value(plain)(PARAMS, HIDDEN))


@pytest.mark.parametrize(
  "kwargs", [{}, {"max_chosen": 8}, {"max_chosen": 8, "chunk_tokens": 9}]
)
def test_masked_tokens_are_left_out_exactly(kwargs):
  mask = MASK & FIRST[None]
  assert jnp.max(jnp.sum(mask, -1)) <= 8
  f = functools.partial(score, mask=MASK, **kwargs)
  want = value(functools.partial(plain, mask=mask))(PARAMS, HIDDEN)
  close(value(f)(PARAMS, HIDDEN), want)


@pytest.mark.parametrize("kwargs", [{}, {"max_chosen": 8}])
def test_what_stands_behind_a_masked_token_is_inert(kwargs):
  predicts = jnp.pad(MASK[:, 1:], ((0, 0), (0, 1)))[..., None]
  f = value(functools.partial(score, mask=MASK, **kwargs))
  at = lambda junk: f(PARAMS, jnp.where(predicts, HIDDEN, junk))
  want = at(0.0)
  for junk in (jnp.nan, jnp.inf, -jnp.inf, 1e30):
    jax.tree.map(np.testing.assert_array_equal, at(junk), want)


def test_a_row_with_more_chosen_tokens_than_its_budget_is_not_a_number():
  f = jax.jit(functools.partial(score, mask=MASK, max_chosen=3))
  log_probs, _ = f(PARAMS, HIDDEN)
  chosen = np.asarray(MASK & FIRST[None])
  rank = np.cumsum(chosen, -1)
  np.testing.assert_array_equal(np.isnan(log_probs), chosen & (rank > 3))


def test_a_budget_needs_a_mask():
  with pytest.raises(ValueError, match="max_chosen=4 needs a mask"):
    score(PARAMS, HIDDEN, max_chosen=4)


def test_the_worked_entropy_and_impossible_tokens():
  table = jnp.array([[1.0, 0, 0, -jnp.inf]])

  def f(table):
    log_probs, entropy = scoring.token_log_probs(
      lambda table, hidden: hidden @ table,
      table,
      jnp.ones((1, 2, 1)),
      jnp.zeros((1, 2), jnp.int32),
    )
    return jnp.sum(entropy + log_probs), (log_probs, entropy)

  f = jax.jit(jax.value_and_grad(f, has_aux=True))
  (_, (log_probs, entropy)), grad = f(table)
  np.testing.assert_allclose(entropy, [[0, 0.975328]], atol=1e-6)
  np.testing.assert_allclose(log_probs, [[0, -0.551445]], atol=1e-6)
  assert jnp.isfinite(grad).all()
  assert grad[0, 3] == 0


def test_the_ratio_is_one_under_the_samplers_temperature():
  drawn = jax.nn.log_softmax(logits(PARAMS, HIDDEN) / 0.7)
  sampler = jnp.take_along_axis(drawn[:, :-1], TOKENS[:, 1:, None], -1)
  log_probs, _ = jax.jit(score)(PARAMS, HIDDEN)
  np.testing.assert_allclose(log_probs[:, 1:], sampler[..., 0], atol=1e-5)


def test_scoring_twice_is_bit_equal():
  first, second = (jax.jit(score)(PARAMS, HIDDEN) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("chunk_tokens, most", [(None, B * L * V), (B, B * V)])
def test_no_array_is_larger_than_the_logits_of_a_chunk(chunk_tokens, most):
  f = value(functools.partial(score, chunk_tokens=chunk_tokens))
  jaxpr = jax.make_jaxpr(f)(PARAMS, HIDDEN)
  sizes = [
    aval.size
    for eqn in _equations(jaxpr.jaxpr)
    for aval in (v.aval for v in eqn.outvars)
    if aval.shape[-1:] == (V,) and aval.shape != (D, V)
  ]
  assert max(sizes) == most


def _equations(jaxpr):
  for eqn in jaxpr.eqns:
    yield eqn
    for sub in jax.tree.leaves(
      list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
    ):
      inner = getattr(sub, "jaxpr", sub)
      if hasattr(inner, "eqns"):
        yield from _equations(inner)
