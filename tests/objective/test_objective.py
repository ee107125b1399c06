"""Objectives: what they add up, what they need, and what they report."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import metrics, objective
from rlx.objective import filters

RNG = np.random.default_rng(0)
SHAPE = (4, 6)
MASK = jnp.asarray(RNG.random(SHAPE) < 0.6)
FLOATS = (
  "log_probs",
  "entropy",
  "advantages",
  "old_log_probs",
  "sampler_log_probs",
  "ref_log_probs",
  "values",
  "old_values",
  "returns",
)
Terms, Clip = objective.Terms, objective.Clip
FULL = Terms(
  reduction="seq-mean-token-mean",
  kl_coef=0.1,
  kl_gradient="k3+",
  kl_off_policy=True,
  entropy_coef=0.01,
  importance_cap=2.0,
)
OBJECTIVES = {
  "plain": objective.clipped(Clip(), Terms()),
  "full": objective.clipped(
    Clip(epsilon_high=0.28, dual_clip=3.0), FULL, objective.ValueTerm()
  ),
  "sequence": objective.clipped(
    Clip(ratio_level="sequence"), dataclasses.replace(FULL, kl_gradient="k1")
  ),
  "step": objective.clipped(
    Clip(ratio_level="step"),
    Terms(reduction="token-sum-norm", reduction_length=8),
  ),
  "reinforce": objective.reinforce(
    Terms(importance_cap=2.0, importance_level="sequence")
  ),
  "rejecting": objective.clipped(
    Clip(), Terms(importance_cap=2.0, rejection="k1", rejection_bound=1.5)
  ),
  "filtered": objective.reinforce(
    Terms(rejection="k2", rejection_level="sequence"),
    objective.ValueTerm(),
    functools.partial(filters.bands, sequence=(0.5, 2.0)),
  ),
  "cispo": objective.cispo(Clip(), Terms()),
  "preserving": objective.gradient_preserving(Clip(), Terms(), above=0.5),
  "sapo": objective.sapo(Terms()),
  "gmpo": objective.geometric_mean(Terms(reduction="seq-mean-token-mean")),
}


def make_inputs(made, junk: Any = 0.0, drop=(), **fields) -> Any:
  arrays = {
    name: jnp.where(MASK, 0.5 * x, junk)
    for name, x in zip(
      FLOATS,
      jnp.asarray(
        np.random.default_rng(1).normal(size=(len(FLOATS), *SHAPE)),
        jnp.float32,
      ),
      strict=True,
    )
  }
  arrays = {name: x for name, x in arrays.items() if name not in drop}
  segment = jnp.asarray(np.arange(24).reshape(SHAPE) // 3, jnp.int32)
  return objective.TokenInputs(
    **arrays
    | {"mask": MASK, "weights": made.weights(MASK), "segment": segment}
    | fields
  )


def value(made):
  """Loss, metrics and gradients by what comes from the models."""

  def f(log_probs, entropy, values, inputs):
    return made.loss(
      dataclasses.replace(
        inputs, log_probs=log_probs, entropy=entropy, values=values
      )
    )

  grad = jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))
  return lambda x: grad(x.log_probs, x.entropy, x.values, x)


@pytest.mark.parametrize("made", OBJECTIVES.values(), ids=OBJECTIVES)
def test_what_the_policy_did_not_choose_is_inert(made):
  f = value(made)
  want = f(make_inputs(made))
  assert jnp.isfinite(want[0][0])
  for junk in (jnp.nan, jnp.inf, -jnp.inf, 1e30):
    got = f(make_inputs(made, junk))
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("made", OBJECTIVES.values(), ids=OBJECTIVES)
def test_micro_batches_add_up_to_the_batch(made):
  inputs = make_inputs(made)
  loss = jax.jit(made.loss)
  total, found = loss(inputs)
  parts = [
    loss(jax.tree.map(lambda x, i=i: x[i : i + 1], inputs))
    for i in range(SHAPE[0])
  ]
  np.testing.assert_allclose(sum(p[0] for p in parts), total, atol=1e-6)
  merged = parts[0][1]
  for _, more in parts[1:]:
    merged = metrics.add(merged, more)
  got, want = metrics.fetch(merged), metrics.fetch(found)
  assert got == pytest.approx(want, abs=1e-5)


def test_every_term_is_in_the_loss_and_reported():
  made = OBJECTIVES["full"]
  total, found = made.loss(make_inputs(made))
  parts = ("loss/policy", "loss/kl", "loss/entropy", "loss/value")
  np.testing.assert_allclose(sum(found[x] for x in parts), total, atol=1e-6)
  assert {
    "entropy",
    "kl",
    "ppo_kl",
    "ratio/mean",
    "ratio/max",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "clip_ratio/region_mean",
    "clip_ratio/dual_mean",
    "mismatch_kl/mean",
    "mismatch_kl/max",
    "importance/mean",
    "value/mean",
  } <= set(found)


def test_metrics_are_what_their_names_say():
  # Ratios 0.5, 1, 5, 0.5; the sampler was off by log 2 on the last token.
  old = jnp.full((1, 4), -1.0)
  made = objective.clipped(Clip(), Terms())
  inputs = objective.TokenInputs(
    log_probs=old + jnp.log(jnp.array([[0.5, 1.0, 5.0, 0.5]])),
    old_log_probs=old,
    sampler_log_probs=old - jnp.log(jnp.array([[1.0, 1.0, 1.0, 2.0]])),
    ref_log_probs=old,
    entropy=jnp.array([[1.0, 2.0, 3.0, 4.0]]),
    advantages=jnp.array([[-1.0, 1.0, 1.0, 1.0]]),
    mask=jnp.ones((1, 4), bool),
    weights=jnp.full((1, 4), 0.25),
    segment=jnp.zeros((1, 4), jnp.int32),
  )
  found = metrics.fetch(jax.jit(made.loss)(inputs)[1])
  k3 = lambda d: np.exp(-d) - 1 + d
  logs = np.log([0.5, 1, 5, 0.5])
  want = {
    "clip_ratio/low_mean": 0.25,
    "clip_ratio/high_mean": 0.25,
    "clip_ratio/region_mean": 0.5,
    "ratio/mean": 1.75,
    "ratio/max": 5.0,
    "ppo_kl": -logs.mean(),
    "entropy": 2.5,
    "kl": k3(logs).mean(),
    "mismatch_kl/mean": k3(-np.log(2)) / 4,
    "mismatch_kl/max": k3(-np.log(2)),
  }
  assert {k: found[k] for k in want} == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("level", ["token", "step", "sequence"])
def test_without_old_log_probs_the_ratio_is_exactly_one(level):
  made = objective.clipped(Clip(ratio_level=level), Terms())
  inputs = make_inputs(made, drop=("old_log_probs",))
  (_, found), grads = value(made)(inputs)
  assert metrics.fetch(found)["ratio/mean"] == 1.0
  assert metrics.fetch(found)["ratio/max"] == 1.0
  policy_gradient = -inputs.weights * inputs.advantages
  np.testing.assert_array_equal(grads[0], jnp.where(MASK, policy_gradient, 0))


def test_importance_weights_multiply_the_surrogate_and_nothing_else():
  made = objective.clipped(Clip(), Terms(importance_cap=1.5, entropy_coef=0.1))
  plain = objective.clipped(Clip(), Terms(entropy_coef=0.1))
  inputs = make_inputs(made)
  gap = inputs.old_log_probs - inputs.sampler_log_probs
  weight = jnp.minimum(jnp.exp(gap), 1.5)
  scaled = dataclasses.replace(inputs, advantages=inputs.advantages * weight)
  np.testing.assert_allclose(
    made.loss(inputs)[0], plain.loss(scaled)[0], atol=1e-6
  )


def test_what_is_rejected_is_in_the_denominator_and_in_nothing_else():
  terms = Terms(rejection="k1", rejection_bound=1.5, entropy_coef=0.1)
  made = objective.clipped(Clip(), terms)
  plain = objective.clipped(Clip(), Terms(entropy_coef=0.1))
  inputs = make_inputs(made)
  gap = jnp.abs(inputs.old_log_probs - inputs.sampler_log_probs)
  kept = gap <= jnp.log(1.5)
  assert (kept & MASK).any()
  assert (~kept & MASK).any()
  zeroed = dataclasses.replace(inputs, advantages=inputs.advantages * kept)
  loss, found = made.loss(inputs)
  np.testing.assert_allclose(loss, plain.loss(zeroed)[0], atol=1e-6)
  assert metrics.fetch(found)["importance/kept"] == pytest.approx(
    float((kept & MASK).sum() / MASK.sum())
  )


def test_a_filter_on_tokens_of_the_policy_itself_leaves_reinforce():
  made = objective.reinforce(Terms(), keep=filters.bands)
  inputs = make_inputs(made)
  inputs = dataclasses.replace(inputs, sampler_log_probs=inputs.old_log_probs)
  (got, found), grads = value(made)(inputs)
  (want, _), wanted = value(objective.reinforce(Terms()))(inputs)
  np.testing.assert_allclose(got, want, atol=1e-7)
  np.testing.assert_array_equal(grads[0], wanted[0])
  assert metrics.fetch(found)["importance/kept"] == 1.0


def test_a_filter_that_keeps_nothing_leaves_no_loss():
  made = objective.reinforce(Terms(), keep=filters.bands)
  inputs = make_inputs(made)
  far = dataclasses.replace(inputs, sampler_log_probs=inputs.old_log_probs + 3)
  (loss, found), grads = value(made)(far)
  assert loss == 0
  assert not grads[0].any()
  assert metrics.fetch(found)["importance/kept"] == 0.0


@pytest.mark.parametrize(
  "made, drop, match",
  [
    ("rejecting", "sampler_log_probs", "importance_cap=2.0 needs"),
    ("filtered", "sampler_log_probs", "rejection='k2' needs sampler_log_probs"),
    ("full", "ref_log_probs", "kl_coef=0.1 needs ref_log_probs"),
    ("full", "sampler_log_probs", "importance_cap=2.0 needs sampler_log_probs"),
    ("full", "returns", "the value loss needs returns"),
  ],
)
def test_what_is_missing_is_named(made, drop, match):
  made = OBJECTIVES[made]
  with pytest.raises(ValueError, match=match):
    made.loss(make_inputs(made, drop=(drop,)))


def test_what_an_objective_needs_is_told_beforehand():
  needs = lambda name: (
    OBJECTIVES[name].needs_reference,
    OBJECTIVES[name].needs_value,
  )
  assert needs("plain") == (False, False)
  assert needs("sequence") == (True, False)
  assert needs("full") == (True, True)


@pytest.mark.parametrize(
  "make, match",
  [
    (lambda: Clip(epsilon_low=1.5), "epsilon_low=1.5: must be between 0 and 1"),
    (
      lambda: Clip(epsilon_high=-0.1),
      "epsilon_high=-0.1: must be between 0 and inf",
    ),
    (lambda: Clip(dual_clip=0.5), "dual_clip=0.5: must be above 1"),
    (lambda: Terms(importance_cap=0.0), "importance_cap=0.0: must be above 0"),
    (
      lambda: Terms(rejection="k1", rejection_bound=0.5),
      "rejection_bound=0.5 must be above 1.0 with rejection='k1'",
    ),
    (
      lambda: objective.sapo(Terms(), temperature_negative=0.0),
      "temperature_negative=0.0: must be above 0",
    ),
    (
      lambda: Terms(reduction="token-sum-norm"),
      "'token-sum-norm' needs a reduction_length.*None",
    ),
  ],
)
def test_a_wrong_number_is_refused_where_it_is_given(make, match):
  with pytest.raises(ValueError, match=match):
    make()
