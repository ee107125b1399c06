"""A real decoder under sampler and learner: on a mesh as on one device, and with
float32 masters under a bfloat16 computation."""

import functools

import jax
import numpy as np
import optax
import pytest

from rlx import metrics, optimizer, recipes, sharding
from tests import tiny

SHAPE = tiny.shape(turns=1, action_tokens=8, num_prompts=2)
MODEL = tiny.decoder(num_layers=1)


@functools.cache
def mesh(devices):
  if devices == 1:
    return tiny.one_device()
  return sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2))


@functools.cache
def played(devices):
  params = jax.device_put(
    tiny.params(MODEL), sharding.shardings(MODEL.axes, mesh(devices))
  )
  made = tiny.make_engine(MODEL, SHAPE, mesh=mesh(devices))
  return tiny.play(made, params, tiny.Say(turns=1)).record


@functools.cache
def updated(devices, shared=True):
  """What is known after one update on what one device has played.

  What is shared is a trunk of 3 and 4 blocks, two packs of which go together on
  one device, and one on each of four parts of the mesh.
  """
  log = played(1)
  made = tiny.make_learner(
    MODEL,
    recipes.reinforce(),
    log,
    mesh=mesh(devices),
    prompt=SHAPE.prompt_tokens,
    group=SHAPE.num_samples,
    share_prefixes=shared,
    microbatch_tokens=70 if shared else 44,
  )
  if shared and devices == 1:
    assert made.tokens(log.rollout()) < log.length.sum()
  state, found, batch = made.update(
    tiny.start(made), None, log.rollout(), log.steps()
  )
  placed = jax.tree.map(lambda x: x.sharding, state.params)
  assert placed == made.placements.params
  return tiny.host(state), metrics.fetch(found), tiny.host(batch)


def test_samples_on_a_mesh_are_those_of_one_device():
  one, eight = played(1), played(8)
  np.testing.assert_array_equal(eight.tokens, one.tokens)
  np.testing.assert_array_equal(eight.mask, one.mask)
  np.testing.assert_allclose(
    eight.log_probs, one.log_probs, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("how", ["mesh", "unshared"])
def test_an_update_is_that_of_one_device_whatever_is_shared(how):
  one, eight = updated(1), updated(8) if how == "mesh" else updated(1, False)
  for name in ("mu", "params"):
    of = lambda state, name=name: (
      state.params
      if name == "params"
      else optax.tree_utils.tree_get(state.opt_state, name)
    )
    for got, want in zip(
      jax.tree.leaves(of(eight[0])), jax.tree.leaves(of(one[0])), strict=True
    ):
      gap = np.abs(got - want).max() / np.abs(want).max()
      assert gap <= 1e-5
  assert one[1].keys() == eight[1].keys()
  for name, value in one[1].items():
    assert eight[1][name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_parameters_are_split_over_the_mesh():
  places = sharding.shardings(MODEL.axes, mesh(8))
  params = jax.device_put(tiny.params(MODEL), places)
  whole = sum(x.size for x in jax.tree.leaves(params))
  mine = sum(x.addressable_shards[0].data.size for x in jax.tree.leaves(params))
  # A quarter, but for the scales of norms, which every device has.
  assert mine < 0.3 * whole


@pytest.mark.parametrize("devices", [1, 8])
def test_the_trainer_recomputes_what_the_sampler_said(devices):
  log = played(1)
  _, found, batch = updated(devices)
  gap = np.abs(batch.old_log_probs - log.raw_log_probs)[log.mask]
  assert gap.max() <= 1e-5
  assert found["mismatch/log_prob_max"] == pytest.approx(gap.max(), rel=1e-5)
  assert 0 <= found["mismatch_kl/mean"] <= found["mismatch_kl/max"] <= 1e-6
  assert found["ratio/max"] == found["ratio/mean"] == 1.0


def test_tiny_steps_move_float32_masters_under_a_bfloat16_computation():
  model, log = tiny.decoder(num_layers=1, dtype="bfloat16"), played(1)
  made = tiny.make_learner(
    model,
    recipes.reinforce(),
    log,
    optimizer=optimizer.OptimizerConfig(learning_rate=1e-6),
  )
  before = tiny.host(tiny.start(made).params)
  state = tiny.start(made)
  dtypes = {x.dtype for x in jax.tree.leaves((state.params, state.opt_state))}
  assert dtypes == {np.dtype(np.float32), np.dtype(np.int32)}
  state, found, _ = made.update(state, None, log.rollout(), log.steps())
  assert np.isfinite(metrics.fetch(found)["loss"])
  # Rows of the embedding whose token is nowhere have no gradient.
  del before["policy"]["embed"]
  after = {k: v for k, v in state.params["policy"].items() if k != "embed"}
  moved = jax.tree.map(lambda a, b: np.asarray(a) != b, after, before["policy"])
  share = np.mean(np.concatenate([x.ravel() for x in jax.tree.leaves(moved)]))
  assert share > 0.95
