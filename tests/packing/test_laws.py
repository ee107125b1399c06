"""What is computed once is what is computed for each row: log-probabilities,
entropies and gradients of a real decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch as batches
from rlx import sharding
from rlx.packing import shapes, split
from rlx.programs import forward, tokens
from tests import tiny

ROWS, LENGTH, PROMPT, GROUP = 8, 24, 9, 4
MODEL = tiny.decoder(num_layers=1)
PARAMS = {"policy": tiny.params(MODEL)}
BY_ROW = sharding.batch_sharding(tiny.one_device())
RUN = forward.make(MODEL, None, 0.7, 4096)
# Two packs at once, and one tree of four rows.
KNOWN = shapes.make(LENGTH, ROWS, 130, 1, prompt=PROMPT, group=GROUP)


def rows_of(kind):
  """(tokens, mask) of a batch."""
  rng = np.random.default_rng(3)
  said = rng.integers(1, 8, (ROWS, LENGTH))
  index = np.arange(LENGTH)[None]
  mask = np.repeat(index >= PROMPT, ROWS, axis=0)
  if kind == "ragged":
    return said, (index >= 2) & (index < rng.integers(4, 12, (ROWS, 1)))
  if kind == "singletons":
    return said, mask
  group = ROWS if kind in ("paths", "edges") else GROUP
  for start in range(0, ROWS, group):
    said[start : start + group, :PROMPT] = said[start, :PROMPT]
  if kind == "holes":
    # Observations among what was chosen, as 1100011.
    mask &= ~((index >= PROMPT + 2) & (index < PROMPT + 5))
  if kind == "identical":
    said[:GROUP] = said[0]
  if kind == "nothing":
    mask[[1, 6]] = False
  if kind in ("paths", "edges"):
    said[1::2, : PROMPT + 8] = said[::2, : PROMPT + 8]
  if kind == "edges":
    mask[1::2] &= index >= PROMPT + 8
  return said, mask


KINDS = (
  *("group", "ragged", "singletons", "holes", "identical", "nothing"),
  *("paths", "edges"),
)


def batch(said, mask):
  blank = tokens.blank(ROWS, LENGTH)
  last = LENGTH - np.argmax(mask[:, ::-1], axis=1)
  valid = np.arange(LENGTH)[None] < last[:, None]
  rollout = batches.Rollout(
    **{
      **{f: getattr(blank.rollout, f) for f in ("log_probs", "raw_log_probs")},
      "segment": blank.rollout.segment,
      "version": blank.rollout.version,
      "tokens": jnp.array(said, jnp.int32),
      "valid": jnp.array(valid),
      "mask": jnp.array(mask),
    }
  )
  return tokens.Batch(
    **{**{f: getattr(blank, f) for f in FIELDS}, "rollout": rollout}
  )


FIELDS = (
  *("old_log_probs", "ref_log_probs", "old_values", "advantages"),
  *("returns", "weights"),
)


@functools.partial(jax.jit, static_argnames="shape")
def run(params, whole, weights, view, shape):
  """(gradient, log-probabilities, entropies) of a view's rows."""

  def loss(params):
    part, put = forward.cut(BY_ROW, whole, view, shape)
    log_probs, entropy, _ = RUN(params, part, view, shape)
    rows = view if isinstance(shape, int) else view.rows
    own = weights.at[rows].get(mode="fill", fill_value=0)
    total = jnp.sum(own * log_probs) + jnp.sum(jnp.sin(own) * entropy)
    said = [put(jnp.zeros((ROWS, LENGTH)), x) for x in (log_probs, entropy)]
    return total, said

  return jax.grad(loss, has_aux=True)(params)


def both(kind):
  said, mask = rows_of(kind)
  whole = batch(said, mask)
  drawn = np.random.default_rng(4).standard_normal(mask.shape)
  weights = jnp.array(np.where(mask, drawn, 0), jnp.float32)
  weights = weights.at[:, 0].set(0)
  want = run(PARAMS, whole, weights, jnp.arange(ROWS), LENGTH)
  parts = [
    run(PARAMS, whole, weights, view, shape)
    for view, shape in split.split(said, mask, KNOWN)
  ]
  got = jax.tree.map(lambda *x: sum(x), *parts)
  return got, want, mask


@pytest.mark.parametrize("kind", KINDS)
def test_packs_learn_what_rows_do(kind):
  (grads, said), (want_grads, want_said), mask = both(kind)
  largest = max(np.abs(x).max() for x in jax.tree.leaves(want_grads))
  for got, want in zip(
    jax.tree.leaves(grads), jax.tree.leaves(want_grads), strict=True
  ):
    assert np.abs(got - want).max() <= 1e-5 * largest
  for got, want in zip(said, want_said, strict=True):
    np.testing.assert_allclose(got[mask], want[mask], atol=1e-5)
    assert not got[~mask].any()


@pytest.mark.parametrize(
  "kind,shape",
  [
    ("group", KNOWN.groups[0]),
    ("holes", KNOWN.groups[0]),
    ("edges", KNOWN.tree),
    ("paths", KNOWN.tree),
    ("ragged", KNOWN.rows),
  ],
)
def test_each_kind_is_put_together_in_its_own_way(kind, shape):
  assert {found for _, found in split.split(*rows_of(kind), KNOWN)} == {shape}


def test_what_stands_in_the_padding_of_packs_is_inert():
  said, mask = rows_of("nothing")
  whole = batch(said, mask)
  weights = jnp.where(mask, 1.0, 0.0)
  for view, shape in split.split(said, mask, KNOWN):
    filled = view.segments > 0
    assert not filled.all()
    other = view._replace(
      tokens=np.where(filled, view.tokens, 7),
      positions=np.where(filled, view.positions, 3),
    )
    got = run(PARAMS, whole, weights, other, shape)
    want = run(PARAMS, whole, weights, view, shape)
    jax.tree.map(np.testing.assert_array_equal, got, want)
