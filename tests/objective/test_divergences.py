"""KL estimators as numbers and as gradients, on a softmax over three tokens."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.objective import divergences

LOGITS = jnp.array([0.3, -0.7, 1.1])
REFERENCE = jax.nn.log_softmax(jnp.array([-0.2, 0.5, 0.1]))
ONE = jnp.ones((1, 3), bool)


def check(got, want, atol=1e-6):
  np.testing.assert_allclose(got, want, atol=atol)


def expected(f, logits):
  """Exact mean of f(log_probs) over the tokens that the policy samples."""
  log_probs = jax.nn.log_softmax(logits)
  p = jax.lax.stop_gradient(jnp.exp(log_probs))
  return jnp.sum(p * f(log_probs[None], REFERENCE[None], ONE)[0])


def forward(logits):
  log_p = jax.nn.log_softmax(logits)
  return jnp.sum(jnp.exp(log_p) * (log_p - REFERENCE))


def backward(logits):
  log_p = jax.nn.log_softmax(logits)
  return jnp.sum(jnp.exp(REFERENCE) * (REFERENCE - log_p))


@pytest.mark.parametrize(
  "name, want", [("k1", 0.5), ("k2", 0.125), ("k3", 0.106531)]
)
def test_the_worked_numbers(name, want):
  one = jnp.ones((1, 1), bool)
  got = divergences.kl(jnp.array([[-1.0]]), jnp.array([[-1.5]]), one, name)
  check(got, [[want]])


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_k1_and_k3_are_unbiased_as_numbers(name):
  got = expected(
    lambda x, ref, mask: divergences.kl(x, ref, mask, name), LOGITS
  )
  check(got, forward(LOGITS))


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_k3_is_never_negative_and_near_k2_for_small_differences(seed):
  """L23."""
  d = np.random.default_rng(seed).normal(scale=2.0, size=(1, 32))
  d, mask = jnp.asarray(d, jnp.float32), jnp.ones((1, 32), bool)
  for factor in (1.0, 1e-3, 1e-6):
    assert (divergences.kl(factor * d, 0 * d, mask, "k3") >= 0).all()
  small = d * 0.002
  k2, k3 = (divergences.kl(small, 0 * d, mask, k) for k in ("k2", "k3"))
  check(k3, k2)


@pytest.mark.parametrize(
  "name, exact",
  [
    ("k1", lambda x: jnp.sum(0 * x)),
    ("k2", forward),
    ("k3", backward),
    ("k3+", forward),
  ],
)
def test_each_loss_has_the_gradient_that_its_name_promises(name, exact):
  loss = lambda x, ref, mask: divergences.kl_loss(x, ref, mask, name)
  got = jax.grad(lambda logits: expected(loss, logits))(LOGITS)
  check(got, jax.grad(exact)(LOGITS))


def test_weighing_by_the_ratio_gives_the_gradient_for_older_tokens():
  old = jax.nn.softmax(jnp.array([1.0, 0.2, -0.5]))

  def loss(logits):
    log_probs = jax.nn.log_softmax(logits)
    ratio = jax.lax.stop_gradient(jnp.exp(log_probs) / old)
    kl = divergences.kl_loss(log_probs[None], REFERENCE[None], ONE, "k3+")
    return jnp.sum(old * ratio * kl[0])

  check(jax.grad(loss)(LOGITS), jax.grad(forward)(LOGITS))


def test_straight_through_shows_the_number_of_k3():
  x = (jax.nn.log_softmax(LOGITS)[None], REFERENCE[None], ONE)
  check(divergences.kl_loss(*x, "k3+"), divergences.kl_loss(*x, "k3"))


def test_a_token_that_the_reference_finds_impossible_stays_finite():
  one = jnp.ones((1, 1), bool)
  f = lambda x: divergences.kl_loss(x, jnp.zeros((1, 1)), one, "k3").sum()
  value, grad = jax.value_and_grad(f)(jnp.array([[-1000.0]]))
  assert value == 10
  assert grad == 0


@pytest.mark.parametrize("name", ["k1", "k2", "k3", "k3+"])
def test_padding_is_inert(name):
  mask = jnp.array([[True, False, True]])
  new, ref = jax.nn.log_softmax(LOGITS)[None], REFERENCE[None]

  def loss(new, ref):
    return divergences.kl_loss(new, ref, mask, name).sum()

  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  at = lambda junk: grad(*(jnp.where(mask, x, junk) for x in (new, ref)))
  want = at(0.0)
  for junk in (jnp.nan, jnp.inf, -jnp.inf, 1e30):
    jax.tree.map(np.testing.assert_array_equal, at(junk), want)
