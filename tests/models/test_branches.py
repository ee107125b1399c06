"""A forest in a row: what a token sees, and that it computes what a path does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.models import branches
from tests import tiny

# A trunk of 3 tokens and one of padding; a branch of 2; a branch that forks
# after its first token into 1 and 2; a branch of padding only.
LAYOUT = (4, 3, 5)
SEGMENTS = [1, 1, 1, 0, 2, 2, 0, 0, 0, 3, 4, 5, 5, *[0] * 6]
LAST = [5, 5, 5, 0, 2, 2, 0, 0, 0, 5, 4, 5, 5, *[0] * 6]
PATHS = [[0, 1, 2, 4, 5], [0, 1, 2, 9, 10], [0, 1, 2, 9, 11, 12]]
WIDTH, ROWS = 19, 2
SEGMENTS = np.array([SEGMENTS] * ROWS)
LAST = np.array([LAST] * ROWS)
TOKENS = np.random.default_rng(0).integers(1, 8, (ROWS, WIDTH))
POSITIONS = np.array([0, 1, 2, 0, 3, 4, 0, 0, 0, 3, 4, 4, 5, *[0] * 6])
POSITIONS = np.tile(POSITIONS, (ROWS, 1))


def test_a_token_sees_its_path_and_nothing_after_itself():
  want = np.zeros((WIDTH, WIDTH), bool)
  for path in PATHS:
    for place, column in enumerate(path):
      want[column, path[: place + 1]] = True
  found = np.asarray(branches.visible(jnp.array(SEGMENTS), jnp.array(LAST)))[0]
  real = SEGMENTS[0] > 0
  np.testing.assert_array_equal(found[real], want[real])
  # Padding sees itself, so that no softmax is empty, and no token sees it.
  assert found.diagonal().all()


def test_pieces_of_a_layout_are_those_of_the_whole():
  args = jnp.array(SEGMENTS), jnp.array(LAST)
  whole = np.asarray(branches.visible(*args))
  parts = branches.visible(*args, LAYOUT)
  assert isinstance(parts, branches.Visible)
  np.testing.assert_array_equal(parts.trunk, whole[:, :4, :4])
  np.testing.assert_array_equal(parts.above, whole[:, 4:, :4])
  for branch, start in enumerate((4, 9, 14)):
    own = slice(start, start + 5)
    np.testing.assert_array_equal(parts.own[:, branch], whole[:, own, own])


def _loss(model, layout, params, tokens, positions, segments, last, weights):
  hidden = model.apply(params, tokens, positions, segments, last, layout)
  return jnp.sum(jnp.tanh(hidden.astype(jnp.float32)) * weights[..., None])


@functools.cache
def of(kind, **fields):
  """(loss, gradient) of the forest, or of its paths one by one."""
  model = tiny.decoder(num_layers=1 + ("remat" in fields), **fields)
  params = tiny.params(tiny.decoder(num_layers=1 + ("remat" in fields)))
  if fields.get("layers") == "scan":
    params = tiny.params(model)
  weights = np.zeros((ROWS, WIDTH), np.float32)
  drawn = np.random.default_rng(1).standard_normal((ROWS, WIDTH))
  for path in PATHS:
    weights[:, path] += drawn[:, path]
  if kind != "paths":
    layout = LAYOUT if kind == "layout" else None
    run = jax.value_and_grad(functools.partial(_loss, model, layout))
    args = (TOKENS, POSITIONS, SEGMENTS, LAST, weights)
    return jax.jit(run)(params, *map(jnp.array, args))
  run = jax.jit(jax.value_and_grad(functools.partial(_loss, model, None)))
  longest = max(map(len, PATHS))

  def padded(x):
    rows = [
      np.pad(x[:, path], ((0, 0), (0, longest - len(path)))) for path in PATHS
    ]
    return jnp.array(np.concatenate(rows))

  tokens, positions, weights = map(padded, (TOKENS, POSITIONS, drawn))
  segments = padded(np.ones_like(SEGMENTS))
  return run(params, tokens, positions, segments, None, weights.astype("f4"))


def close(got, want, tolerance=1e-5):
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.mark.parametrize("kind", ["dense", "layout"])
def test_the_gradient_of_a_forest_is_the_sum_over_its_paths(kind):
  close(of(kind), of("paths"))


def test_a_forest_under_remat_and_scan():
  settings = {"remat": "block", "layers": "scan"}
  close(of("layout", **settings), of("paths", **settings))


def test_a_forest_in_bfloat16():
  close(of("layout", dtype="bfloat16"), of("layout"), 0.05)
