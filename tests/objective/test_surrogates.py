"""Hand tables of the clip rules, ratio levels and what padding may do."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.objective import ratios, surrogates

settings = hypothesis.settings(max_examples=10, deadline=None)
eighths = st.integers(-24, 24).map(lambda i: i / 8)
floats = hnp.arrays(np.float32, (2, 3), elements=eighths)

LOG_RATIO = jnp.log(jnp.array([[0.5, 1.0, 1.25, 5.0]]))
MASK = jnp.ones((1, 4), bool)


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


# Ratios 0.5, 1, 1.25, 5: below the range, in it, between 1.2 and 1.28, above.
# loss = -min(rho A, clipped A), with gradient -rho A where that is smaller.
@pytest.mark.parametrize(
  "advantage, kwargs, loss, grad",
  [
    (1.0, {}, [-0.5, -1, -1.2, -1.2], [-0.5, -1, 0, 0]),
    (
      1.0,
      {"epsilon_high": 0.28},
      [-0.5, -1, -1.25, -1.28],
      [-0.5, -1, -1.25, 0],
    ),
    (1.0, {"dual_clip": 3.0}, [-0.5, -1, -1.2, -1.2], [-0.5, -1, 0, 0]),
    (-1.0, {}, [0.8, 1, 1.25, 5], [0, 1, 1.25, 5]),
    (-1.0, {"epsilon_high": 0.28}, [0.8, 1, 1.25, 5], [0, 1, 1.25, 5]),
    (-1.0, {"epsilon_low": 0.6}, [0.5, 1, 1.25, 5], [0.5, 1, 1.25, 5]),
    (-1.0, {"dual_clip": 3.0}, [0.8, 1, 1.25, 3], [0, 1, 1.25, 0]),
    (0.0, {"dual_clip": 3.0}, [0, 0, 0, 0], [0, 0, 0, 0]),
  ],
)
def test_the_clip_holds_on_the_right_sides(advantage, kwargs, loss, grad):
  advantages = jnp.full((1, 4), advantage)

  def f(log_ratio):
    out = surrogates.clipped(log_ratio, log_ratio, advantages, MASK, **kwargs)
    return out.sum(), out

  got_grad, got = jax.grad(f, has_aux=True)(LOG_RATIO)
  check(got, [loss])
  check(got_grad, [grad])


# Ratios as above: bounded, faded and kept gradients.
@pytest.mark.parametrize(
  "advantage, surrogate, kwargs, grad",
  [
    (
      1.0,
      surrogates.cispo,
      {"epsilon_low": 1.0, "epsilon_high": 0.28},
      [-0.5, -1.0, -1.25, -1.28],
    ),
    (
      -1.0,
      surrogates.cispo,
      {"epsilon_low": 1.0, "epsilon_high": 0.28},
      [0.5, 1.0, 1.25, 1.28],
    ),
    (1.0, surrogates.cispo, {"epsilon_low": 0.2}, [-0.8, -1, -1.25, -1.28]),
    (
      1.0,
      surrogates.gradient_preserving,
      {"above": 0.5, "below": 0.5},
      [-0.5, -1.0, -0.6, -0.6],
    ),
    (
      -1.0,
      surrogates.gradient_preserving,
      {"above": 0.5, "below": 0.5},
      [0.4, 1.0, 1.25, 5.0],
    ),
    (1.0, surrogates.gradient_preserving, {}, [-0.5, -1, -1.2, -1.2]),
    (0.0, surrogates.gradient_preserving, {}, [0, 0, 0, 0]),
  ],
)
def test_a_weighed_policy_gradient_has_the_worked_weights(
  advantage, surrogate, kwargs, grad
):
  f = functools.partial(
    surrogate, advantages=jnp.full((1, 4), advantage), mask=MASK, **kwargs
  )
  got = jax.grad(lambda x: f(LOG_RATIO, x).sum())(LOG_RATIO)
  check(got, [grad])
  # The weight is a constant.
  got = jax.grad(lambda x: f(x, LOG_RATIO).sum())(LOG_RATIO)
  np.testing.assert_array_equal(got, jnp.zeros((1, 4)))


@pytest.mark.parametrize(
  "advantage, loss",
  [
    (1.0, [-1.510163, -2.0, -2.248706, -3.928055]),
    (-1.0, [1.415938, 1.904762, 2.153336, 3.753242]),
    (0.0, [0, 0, 0, 0]),
  ],
)
def test_the_soft_gate_has_the_worked_losses(advantage, loss):
  advantages = jnp.full((1, 4), advantage)
  check(surrogates.sapo(LOG_RATIO, LOG_RATIO, advantages, MASK), [loss])


@pytest.mark.parametrize(
  "advantages, limited",
  # Log-ratios of +1 and -1 are clipped on the side that would be overdone.
  [([1.0, 1.0], [0.4, -1.0]), ([-1.0, -1.0], [1.0, -0.4])],
)
def test_a_geometric_mean_is_of_log_ratios_clipped_on_one_side(
  advantages, limited
):
  advantages = jnp.array([advantages])
  mask = jnp.ones((1, 2), bool)
  f = lambda x: surrogates.geometric_mean(x, x, advantages, mask)
  log_ratio = jnp.array([[1.0, -1.0]])
  ratio = float(np.exp(np.mean(limited)))
  check(f(log_ratio), -advantages * ratio)
  grad = jax.grad(lambda x: f(x).sum())(log_ratio)
  moved = np.array([limited]) == log_ratio
  check(grad, -advantages * ratio * moved)


inside = hnp.arrays(
  np.float32, (2, 3), elements=st.integers(-7, 7).map(lambda i: i / 50)
)
ANY = (
  surrogates.clipped,
  surrogates.cispo,
  surrogates.gradient_preserving,
)


@settings
@hypothesis.given(inside, floats)
def test_inside_of_the_range_all_clips_have_one_gradient(log_ratio, advantages):
  mask = jnp.ones((2, 3), bool)
  log_ratio, advantages = map(jnp.asarray, (log_ratio, advantages))
  grads = [
    jax.grad(lambda x, f=f: f(x, x, advantages, mask).sum())(log_ratio)
    for f in ANY
  ]
  check(grads[0], -jnp.exp(log_ratio) * advantages)
  check(grads[1], grads[0])
  check(grads[2], grads[0])


@settings
@hypothesis.given(floats, floats)
def test_without_a_preserved_gradient_it_is_the_clipped_surrogates(
  log_ratio, advantages
):
  mask = jnp.ones((2, 3), bool)
  log_ratio, advantages = map(jnp.asarray, (log_ratio, advantages))
  nothing = functools.partial(
    surrogates.gradient_preserving, above=0.0, below=0.0
  )
  got, want = (
    jax.grad(lambda x, f=f: f(x, x, advantages, mask).sum())(log_ratio)
    for f in (nothing, surrogates.clipped)
  )
  check(got, want)


@settings
@hypothesis.given(floats, floats)
def test_a_dual_clip_that_is_never_reached_is_ppo(log_ratio, advantages):
  mask = jnp.ones((2, 3), bool)
  log_ratio, advantages = map(jnp.asarray, (log_ratio, advantages))
  f = functools.partial(
    surrogates.clipped, log_ratio, log_ratio, advantages, mask
  )
  check(f(dual_clip=1e9), f())


@settings
@hypothesis.given(floats, floats)
def test_at_ratio_one_every_surrogate_has_the_policy_gradient(
  log_probs, advantages
):
  mask = jnp.ones((2, 3), bool)

  def loss(surrogate, x):
    old = jax.lax.stop_gradient(x)
    ratio = ratios.log_ratio(x, old, mask)
    return surrogate(ratio, x, advantages, mask).sum()

  log_probs, advantages = map(jnp.asarray, (log_probs, advantages))
  for surrogate in (*ANY, surrogates.reinforce):
    grad = jax.grad(functools.partial(loss, surrogate))(log_probs)
    np.testing.assert_array_equal(grad, -advantages)
  check(
    jax.grad(functools.partial(loss, surrogates.sapo))(log_probs), -advantages
  )
  # One ratio per row acts on the mean advantage of the row.
  grad = jax.grad(functools.partial(loss, surrogates.geometric_mean))(log_probs)
  mean = jnp.mean(advantages, -1, keepdims=True)
  check(grad, -jnp.broadcast_to(mean, (2, 3)))


ROWS = jnp.array([[0.1, 0.3, 9.0], [-0.3, 0.0, 0.6]])
CHOSEN = jnp.array([[True, True, False], [True, True, True]])


def test_a_sequence_ratio_is_the_geometric_mean_of_its_chosen_tokens():
  got = ratios.log_ratio(ROWS, jnp.zeros((2, 3)), CHOSEN, level="sequence")
  a, b = 1.221403, 1.105171
  check(jnp.exp(got), [[a, a, 1], [b, b, b]])


def test_the_sum_over_a_sequence_is_the_ratio_of_its_probabilities():
  got = jnp.exp(ratios.pool_sum(ROWS, CHOSEN))
  a, b = 1.491825, 1.349859
  check(got, [[a, a, a], [b, b, b]])


def test_a_step_ratio_pools_over_the_segment_in_any_order():
  segment = jnp.array([[5, 7, 5, -1, 7, 5]])
  d = jnp.array([[0.1, 0.4, 0.3, 9.0, 0.0, 9.0]])
  mask = jnp.array([[True, True, True, False, True, False]])
  got = ratios.log_ratio(d, 0 * d, mask, level="step", segment=segment)
  check(got, [[0.2, 0.2, 0.2, 0, 0.2, 0]])


def test_a_step_ratio_needs_segments():
  with pytest.raises(ValueError, match="'step' needs the segment"):
    ratios.log_ratio(ROWS, ROWS, CHOSEN, level="step")


@settings
@hypothesis.given(floats, floats)
def test_a_step_ratio_over_single_tokens_is_the_token_ratio(new, old):
  mask = jnp.ones((2, 3), bool)
  new, old = map(jnp.asarray, (new, old))
  segment = jnp.arange(6).reshape(2, 3)
  step = ratios.log_ratio(new, old, mask, level="step", segment=segment)
  check(step, ratios.log_ratio(new, old, mask))


@settings
@hypothesis.given(floats, floats, floats)
def test_gspo_on_segments_of_one_token_is_ppo(new, old, advantages):
  mask = jnp.ones((2, 3), bool)
  new, old, advantages = map(jnp.asarray, (new, old, advantages))

  def loss(level, x):
    segment = jnp.arange(6).reshape(2, 3)
    ratio = ratios.log_ratio(x, old, mask, level=level, segment=segment)
    return surrogates.clipped(ratio, x, advantages, mask).sum()

  step, token = (
    jax.value_and_grad(functools.partial(loss, level))(new)
    for level in ("step", "token")
  )
  check(step[0], token[0], atol=1e-3)
  check(step[1], token[1], atol=1e-3)


def test_a_pooled_ratio_ends_at_ten_nats_above_and_twenty_below():
  x = jnp.array([[12.0, 14.0], [-12.0, -14.0], [-30.0, -30.0]])
  mask = jnp.ones(x.shape, bool)
  got = ratios.log_ratio(x, 0 * x, mask, level="sequence")
  check(got, [[10, 10], [-13, -13], [-20, -20]])


def test_the_token_form_has_the_gradient_of_the_pooled_ratio():
  old = jnp.zeros((2, 3))
  token = lambda x: jnp.sum(
    jnp.exp(ratios.log_ratio(x, old, CHOSEN, level="sequence"))
    * CHOSEN
    / jnp.sum(CHOSEN, -1, keepdims=True)
  )

  def pooled(x):
    mean = jnp.sum(jnp.where(CHOSEN, x, 0), -1) / jnp.sum(CHOSEN, -1)
    return jnp.sum(jnp.exp(mean))

  check(jax.grad(token)(ROWS), jax.grad(pooled)(ROWS))


def test_a_huge_ratio_is_finite_and_has_no_gradient():
  one = jnp.ones((1, 1), bool)
  f = lambda x: jnp.exp(ratios.log_ratio(x, 0 * x, one)).sum()
  value, grad = jax.value_and_grad(f)(jnp.array([[500.0]]))
  check(value, np.exp(20.0), atol=1e3)
  assert grad == 0


@pytest.mark.parametrize("level", ["token", "step", "sequence"])
@pytest.mark.parametrize(
  "surrogate",
  [
    surrogates.reinforce,
    functools.partial(surrogates.clipped, dual_clip=3.0),
    surrogates.cispo,
    surrogates.gradient_preserving,
    surrogates.sapo,
    surrogates.geometric_mean,
  ],
  ids=["reinforce", "clipped", "cispo", "preserving", "sapo", "gmpo"],
)
def test_padding_is_inert(surrogate, level):
  rng = np.random.default_rng(0)
  arrays = jnp.asarray(rng.normal(size=(3, 4, 6)), jnp.float32)
  mask = jnp.asarray(rng.random((4, 6)) < 0.5)
  segment = jnp.asarray(rng.integers(0, 3, (4, 6)), jnp.int32)

  def loss(new, old, advantages):
    ratio = ratios.log_ratio(new, old, mask, level=level, segment=segment)
    return surrogate(ratio, new, advantages, mask).sum()

  grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
  at = lambda junk: grad(*(jnp.where(mask, a, junk) for a in arrays))
  want = at(0.0)
  for junk in (jnp.nan, jnp.inf, -jnp.inf, 1e30):
    jax.tree.map(np.testing.assert_array_equal, at(junk), want)
