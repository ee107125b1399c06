"""The learner: any split of a batch is the same update, padding is inert, and a
bad gradient changes nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlx import (
  compiles,
  learner,
  metrics,
  microbatches,
  objective,
  recipes,
  sharding,
  train_state,
)
from tests import tiny

LOG = tiny.batch(rows=8)
ROWS, LENGTH = LOG.tokens.shape


@functools.cache
def gigpo(**config):
  return tiny.make_learner(tiny.policy(), recipes.gigpo(), LOG, **config)


@functools.cache
def anchored():
  """A learner of GRPO with a divergence from a reference."""
  recipe = recipes.grpo(terms=objective.Terms(kl_coef=0.5))
  return tiny.make_learner(tiny.policy(), recipe, LOG, microbatch_tokens=0)


def whole():
  """The learner that takes the whole batch at once."""
  return gigpo(microbatch_tokens=0)


@functools.cache
def often():
  """A learner with a value function, and two passes of two updates each."""
  return tiny.make_learner(
    tiny.policy(),
    recipes.ppo(),
    LOG,
    value=tiny.value(),
    microbatch_tokens=300,
    num_minibatches=2,
    num_iterations=2,
  )


def update(made, rollout=None, steps=None, reference=None):
  """(state, metrics, batch) after one update, as NumPy arrays and numbers."""
  rollout = LOG.rollout() if rollout is None else rollout
  steps = LOG.steps() if steps is None else steps
  state, found, batch = made.update(tiny.start(made), reference, rollout, steps)
  return tiny.host(state), metrics.fetch(found), tiny.host(batch)


def gradient(state):
  """The gradient of the first update, after the clip, from Adam's mean."""
  mean = optax.tree_utils.tree_get(state.opt_state, "mu")
  return jax.tree.map(lambda x: x / np.float32(0.1), mean)


def assert_same_update(got, want, rtol=1e-6):
  close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=rtol)
  jax.tree.map(close, gradient(got[0]), gradient(want[0]))
  jax.tree.map(close, got[0].params, want[0].params)
  assert got[1].keys() == want[1].keys()
  for name, value in want[1].items():
    close(got[1][name], value, err_msg=name)


def assert_bit_equal(got, want):
  jax.tree.map(np.testing.assert_array_equal, got, want)


# Compilations. First, as what has run before would be compiled already.


def test_nothing_compiles_after_the_warm_up_and_one_update():
  made = often()
  state = tiny.start(made)
  made.warm_up(None)
  # A batch of short rows: one shape of the two, and fewer of it.
  short = tiny.batch(rows=8, length=20)
  pad = lambda x, fill=0: np.pad(x, ((0, 0), (0, 44)), constant_values=fill)
  short = dataclasses.replace(
    short,
    segment=pad(short.segment, -1),
    **{
      name: pad(getattr(short, name))
      for name in ("tokens", "mask", "log_probs", "raw_log_probs")
    },
  )
  state, found, _ = made.update(state, None, short.rollout(), short.steps())
  metrics.fetch(found)
  for seed in range(3):
    log = tiny.batch(rows=8, seed=seed)
    rollout, steps = log.rollout(), log.steps()
    with compiles.count() as counted:
      state, _, _ = made.update(state, None, rollout, steps)
    assert counted.num == 0


# Micro-batches, minibatches.


def test_micro_batches_add_up_to_the_whole_batch():
  got, want = update(gigpo(microbatch_tokens=300)), update(whole())
  assert np.abs(gradient(want[0])["policy"]["table"]).max() > 0.01
  assert_same_update(got, want)


def test_each_minibatch_of_each_pass_is_an_update():
  state, _, _ = update(often())
  counts = optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
  assert {int(count) for _, count in counts} == {4}
  assert state.step == 1


def test_what_is_several_rows_of_one_trajectory_is_in_one_minibatch():
  """As segments of a conversation whose template rewrites it."""
  config = train_state.LearnerConfig(num_minibatches=2, num_iterations=2)
  rollout, steps = LOG.rollout(), LOG.steps()
  alone = np.array([*learner._passes(config, 3, rollout, steps)])
  want = [
    part
    for k in range(2)
    for part in microbatches.minibatches(ROWS, 2, np.random.default_rng((3, k)))
  ]
  np.testing.assert_array_equal(alone, want)
  pairs = dataclasses.replace(steps, trajectory=steps.trajectory // 2)
  found = np.array([*learner._passes(config, 3, rollout, pairs)])
  np.testing.assert_array_equal(found[:, ::2], found[:, 1::2])
  np.testing.assert_array_equal(found[0] + found[1], np.ones(ROWS))
  assert (found[0] != found[1]).all()


@pytest.mark.parametrize("scored", [False, True])
def test_the_first_ratio_is_exactly_1(scored):
  # A reference takes a pass before the update, another program than that of
  # the update: its last bits may differ.
  made = anchored() if scored else whole()
  reference = tiny.params(tiny.policy(), seed=9) if scored else None
  _, found, batch = update(made, reference=reference)
  assert found["ratio/mean"] == found["ratio/max"] == 1.0
  assert found["ppo_kl"] == 0.0
  want = update(whole())[2].old_log_probs[LOG.mask]
  np.testing.assert_allclose(batch.old_log_probs[LOG.mask], want, rtol=1e-5)


def test_the_second_pass_is_against_the_policy_that_sampled():
  _, found, batch = update(often())
  assert found["ratio/max"] > 1.0
  assert found["ppo_kl"] != 0.0
  # What the policy was stays what it was before the first pass.
  want = update(whole())[2].old_log_probs[LOG.mask]
  np.testing.assert_allclose(batch.old_log_probs[LOG.mask], want, rtol=1e-5)


def test_a_policy_that_takes_no_packs_is_given_rows():
  model = tiny.policy()
  plain = lambda params, tokens, positions, segments: model.apply(
    params, tokens, positions, segments
  )
  made = tiny.make_learner(
    model._replace(apply=plain), recipes.gigpo(), LOG, microbatch_tokens=0
  )
  assert made.tokens(LOG.rollout()) == ROWS * LENGTH
  # What is packed is less, as half of the rows are short.
  assert gigpo(microbatch_tokens=300).tokens(LOG.rollout()) < ROWS * LENGTH
  # A value is of every token: rows stay as they are.
  assert often().tokens(LOG.rollout()) % (LENGTH // 2) == 0


# What is inert.


def test_padding_the_batch_to_twice_the_length_changes_nothing():
  longer = tiny.batch(rows=8)
  pad = lambda x, fill: np.pad(x, ((0, 0), (0, LENGTH)), constant_values=fill)
  longer = dataclasses.replace(
    longer,
    segment=pad(longer.segment, -1),
    **{
      name: pad(getattr(longer, name), 0)
      for name in ("tokens", "mask", "log_probs", "raw_log_probs")
    },
  )
  made = tiny.make_learner(
    tiny.policy(), recipes.gigpo(), longer, microbatch_tokens=0
  )
  got = update(made, longer.rollout(), longer.steps())
  assert_same_update(got, update(whole()))


@pytest.mark.parametrize("junk", [0.0, 1e30, np.nan, np.inf])
def test_what_stands_in_padding_and_in_observations_is_inert(junk):
  rollout = LOG.rollout()
  fill = lambda x: jnp.where(rollout.mask, x, junk)
  odd = dataclasses.replace(
    rollout,
    tokens=jnp.where(rollout.valid, rollout.tokens, 6),
    log_probs=fill(rollout.log_probs),
    raw_log_probs=fill(rollout.raw_log_probs),
  )
  got, want = update(whole(), odd), update(whole())
  assert_bit_equal(got[0], want[0])
  assert got[1] == want[1]


@pytest.mark.parametrize("tokens", [0, 300])
def test_rows_without_a_chosen_token_are_gone_from_the_loss(tokens):
  made = gigpo(microbatch_tokens=tokens)
  rollout, kept = LOG.rollout(), jnp.arange(ROWS)[:, None] % 3 > 0
  mask = rollout.mask & kept
  out = dataclasses.replace(rollout, mask=mask)
  other = dataclasses.replace(
    out, tokens=jnp.where(kept, out.tokens, 3), log_probs=0 * out.log_probs
  )
  got, want = update(made, other), update(made, out)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
    got[0].params,
    want[0].params,
  )
  # And they are in no denominator: the weights are those of what is left.
  assert want[2].weights.sum() == pytest.approx(1.0, rel=1e-5)
  assert (want[2].weights[~np.asarray(mask)] == 0).all()


def test_a_batch_with_nothing_to_learn_changes_no_parameter():
  rollout = LOG.rollout()
  empty = dataclasses.replace(rollout, mask=jnp.zeros_like(rollout.mask))
  made = whole()
  before = tiny.host(tiny.start(made))
  state, found, _ = update(made, empty)
  assert_bit_equal(state.params, before.params)
  assert state.step == 1
  assert "grad_norm" not in found


# What is not finite.


def bad_steps():
  steps = LOG.steps()
  return dataclasses.replace(steps, reward=steps.reward.at[0].set(jnp.nan))


def test_a_gradient_that_is_not_finite_changes_nothing_but_the_count():
  made = whole()
  before = tiny.host(tiny.start(made))
  state, found, _ = update(made, steps=bad_steps())
  assert state.step == state.skipped == 1
  for field in dataclasses.fields(before):
    if field.name not in ("step", "skipped"):
      name = field.name
      assert_bit_equal(getattr(state, name), getattr(before, name))
  assert found["skipped"] == 1
  assert not np.isfinite(found["grad_norm"])


def test_skipped_updates_are_counted_in_a_row():
  made = whole()
  state, counts = tiny.start(made), []
  for steps in (bad_steps(), bad_steps(), LOG.steps(), bad_steps()):
    state, _, _ = made.update(state, None, LOG.rollout(), steps)
    counts.append(int(state.skipped))
  assert counts == [1, 2, 0, 1]
  assert int(state.step) == 4


# Buffers.


def test_the_state_is_donated_and_the_batch_is_the_callers():
  made = whole()
  state, rollout = tiny.start(made), LOG.rollout()
  old = jax.tree.leaves((state.params, state.opt_state))
  made.update(state, None, rollout, LOG.steps())
  assert all(leaf.is_deleted() for leaf in old)
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(rollout))


# A reference, a value, and what a learner refuses.


def test_a_reference_pulls_the_policy_back():
  made = anchored()
  same = tiny.start(made).params["policy"]
  _, found, batch = update(made, reference=same)
  assert found["kl"] == pytest.approx(0.0, abs=1e-6)
  far = tiny.params(tiny.policy(), seed=9)
  state, found, batch = update(made, reference=far)
  assert found["kl"] > 0.01
  assert found["loss/kl"] > 0.001
  assert (batch.ref_log_probs[LOG.mask] < 0).all()
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(far))
  # With the divergence alone, the policy moves towards the reference.
  flat = dataclasses.replace(
    LOG.steps(), reward=jnp.zeros(ROWS * 3), outcome=jnp.zeros(ROWS * 3)
  )
  state, gap = tiny.start(made), []
  for _ in range(5):
    state, found, _ = made.update(state, far, LOG.rollout(), flat)
    gap.append(metrics.fetch(found)["kl"])
  assert gap == sorted(gap, reverse=True)


def test_values_learn_what_is_returned():
  made = often()
  state, losses, values = tiny.start(made), [], []
  for _ in range(20):
    state, found, batch = made.update(state, None, LOG.rollout(), LOG.steps())
    losses.append(metrics.fetch(found)["loss/value"])
    values.append(np.asarray(batch.old_values)[LOG.mask])
  assert losses[-1] < 0.95 * losses[0]
  # A fresh one expects nothing.
  assert not values[0].any()
  assert values[-1].all()


def test_a_recipe_with_values_needs_a_value_function():
  with pytest.raises(ValueError, match="ppo needs a value function"):
    tiny.make_learner(tiny.policy(), recipes.ppo(), LOG)


def test_a_recipe_without_values_ignores_a_value_function():
  made = tiny.make_learner(
    tiny.policy(), recipes.gigpo(), LOG, value=tiny.value()
  )
  shapes = jax.eval_shape(made.init, jax.random.key(0))
  assert set(shapes.params) == {"policy"}


def test_rows_that_do_not_divide_over_the_mesh_are_refused():
  mesh = sharding.make_mesh(sharding.MeshConfig())
  with pytest.raises(ValueError, match="rows of a batch=12 .* 8 or 16"):
    tiny.make_learner(
      tiny.policy(), recipes.gigpo(), tiny.batch(rows=12), mesh=mesh
    )


def test_what_was_truncated_ends_with_the_value_of_where_it_was_cut():
  recipe = recipes.mis_po(bootstrap=True, whiten=False)
  made = tiny.make_learner(
    *(tiny.policy(), recipe, LOG), value=tiny.value(), microbatch_tokens=0
  )
  rollout, steps = LOG.rollout(), LOG.steps()

  def advantages(truncated):
    state = tiny.start(made)
    value = {**state.params["value"], "bias": jnp.float32(0.7)}
    state = dataclasses.replace(state, params={**state.params, "value": value})
    extras = {**steps.extras, "truncated": truncated * steps.weight}
    table = dataclasses.replace(steps, extras=extras)
    return np.asarray(made.update(state, None, rollout, table)[2].advantages)

  none = advantages(jnp.zeros_like(steps.weight))
  some = advantages((steps.trajectory < 3).astype(jnp.float32))
  want = 0.7 * (LOG.mask & (np.arange(ROWS) < 3)[:, None])
  np.testing.assert_allclose(some - none, want, atol=1e-5)
