"""Weights of objectives: the mirror step, and what it follows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.evidence import alignment
from tests.evidence import shown


def test_the_mirror_step_of_the_worked_example():
  got = alignment.mirror(
    jnp.array([0.5, 0.3, 0.2]), jnp.array([1.0, 0.5, -0.2]), 0.5
  )
  np.testing.assert_allclose(got, [0.592837, 0.277021, 0.130142], atol=2e-5)


def test_no_weight_goes_far_below_the_floor():
  weights = jnp.array([0.5, 0.5])
  for _ in range(50):
    weights = alignment.mirror(weights, jnp.array([1.0, -1.0]), 1.0, 0.1)
  np.testing.assert_allclose(weights.sum(), 1.0, atol=1e-6)
  np.testing.assert_allclose(weights[1], 0.1 / 1.1, atol=1e-2)


def test_cosines_are_within_one_and_zero_for_nothing():
  a = {"x": jnp.full(3, 1e-3), "y": jnp.full((2, 2), 1e3)}
  minus = jax.tree.map(jnp.negative, a)
  nothing = jax.tree.map(jnp.zeros_like, a)
  assert alignment.cosine(a, a) <= 1
  np.testing.assert_allclose(alignment.cosine(a, a), 1, atol=1e-6)
  np.testing.assert_allclose(alignment.cosine(a, minus), -1, atol=1e-6)
  assert alignment.cosine(a, nothing) == 0


def test_a_part_of_the_parameters_is_named_by_its_path():
  params = {"body": {"w": jnp.ones(2)}, "head": jnp.ones(3)}
  some = alignment.select(params, "body/")
  assert jax.tree.map(jnp.shape, some) == {"body": {"w": (2,)}, "head": None}
  assert alignment.select(params, "")["head"] is params["head"]
  with pytest.raises(ValueError, match="'foot': body/w, head"):
    alignment.select(params, "foot")


def test_there_must_be_an_objective():
  with pytest.raises(ValueError, match="one or more"):
    alignment.alignment(shown.context(), objectives=())


NAMES = ("main", "friend", "foe", "settled")
MAIN = np.random.default_rng(0).normal(size=8)
OBJECTIVES = {
  "main": MAIN,
  "friend": 2 * MAIN + 1,
  "foe": -MAIN,
  "settled": np.ones(8),
}


@functools.cache
def made(leaves=""):
  each = alignment.alignment(
    shown.context(), objectives=NAMES, floor=0.0, leaves=leaves
  )
  return each, jax.jit(each.update)


def seen():
  extras = {f"objective/{k}": np.repeat(x, 3) for k, x in OBJECTIVES.items()}
  return shown.seen(extras=extras)


def test_weights_go_to_objectives_that_help_the_first():
  each, update = made()
  state = each.init(jax.random.key(0), shown.PARAMS)
  state, columns, _ = update(state, seen())
  live = np.asarray(seen().steps.weight) > 0
  first = [np.asarray(columns[f"weight/{name}"])[live] for name in NAMES]
  np.testing.assert_allclose(first, 0.25, atol=1e-6)
  state, _, found = update(state, seen())
  angles = [found[f"alignment/{name}"].compute() for name in NAMES]
  np.testing.assert_allclose(angles, [1, 1, -1, 0], atol=1e-5)
  want = jax.nn.softmax(0.5 * jnp.array([1.0, 1, -1, 0]))
  np.testing.assert_allclose(state["weights"], want, atol=1e-5)


def test_gradients_of_a_part_are_a_part_of_the_gradients():
  whole, part = ({"table": 0.0, "other": 0.0}, {"table": 0.0, "other": 0.0})
  both = {"table": shown.PARAMS["table"], "other": jnp.ones(2)}
  model = shown.MODEL._replace(
    logits=lambda p, h: h @ p["table"] + p["other"].sum()
  )
  context = shown.context()._replace(model=model)
  shows = seen()._replace(params=both)
  for leaves, out in (("", whole), ("table", part)):
    each = alignment.alignment(context, objectives=("main",), leaves=leaves)
    state = each.init(jax.random.key(0), both)
    out |= jax.jit(each.update)(state, shows)[0]["previous"]["main"]
  np.testing.assert_array_equal(whole["table"], part["table"])
  assert part["other"] is None
  np.testing.assert_allclose(whole["other"], 0, atol=1e-5)


def test_a_prompt_without_a_spread_has_no_gradient():
  each, update = made()
  same = {f"objective/{name}": np.ones(24) for name in NAMES}
  shows = seen()
  steps = dataclasses.replace(
    shows.steps,
    extras={k: jnp.asarray(x, jnp.float32) for k, x in same.items()},
  )
  state = each.init(jax.random.key(0), shown.PARAMS)
  state, _, _ = update(state, shows)
  new, _, found = update(state, shows._replace(steps=steps))
  np.testing.assert_allclose(new["weights"], 0.25, atol=1e-6)
  assert found["alignment/main"].compute() == 0
