"""Rows that continue a trunk are the sequences they make with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny

TRUNKS, FORK, LENGTH, NEW, PAGE = 2, 3, 20, 9, 4
ROWS = TRUNKS * FORK
CUT = jnp.array([4, 7, 20, 1, 13, 19])


def draw(seed, *shape):
  return jax.random.randint(jax.random.key(seed), shape, 0, tiny.VOCAB)


def at(start, count):
  return start[:, None] + jnp.arange(count)[None]


@pytest.fixture(scope="module", params=["decoder", "softmax"])
def grown(request):
  """A policy, what it saw of rows that fork from trunks, and their pages."""
  model = tiny.policy() if request.param == "softmax" else tiny.decoder()
  params = tiny.params(model)
  tokens, new, last = (
    draw(1, TRUNKS, LENGTH),
    draw(2, ROWS, NEW),
    draw(3, ROWS, 2),
  )

  @jax.jit
  def run(params):
    start = jnp.zeros(TRUNKS, jnp.int32)
    _, trunk = model.extend(
      *(params, model.init_cache(TRUNKS, LENGTH)),
      *(tokens, at(start, LENGTH), LENGTH),
    )
    forked = {"trunk": trunk, "cut": CUT}
    cache, where = model.init_cache(ROWS, NEW + 3), at(CUT, NEW)
    first, cache = model.extend(
      params, cache, new[:, :4], where[:, :4], 4, **forked
    )
    rest, cache = model.extend(
      params, cache, new[:, 4:], where[:, 4:], NEW, **forked
    )
    pages = jnp.arange(ROWS * 8) + 5
    pool = model.store(
      model.init_pages(ROWS * 8 + 5, PAGE),
      *(pages, jnp.tile(jnp.arange(8) * PAGE, ROWS)),
      *(jnp.repeat(jnp.arange(ROWS), 8), cache),
      **forked,
    )
    again = model.load(pool, pages.reshape(ROWS, 8))
    behind, _ = model.extend(
      *(params, model.init_cache(ROWS, 4), last, at(CUT + NEW, 2), 2),
      trunk=again,
      cut=CUT + NEW,
    )
    return jnp.concatenate([first, rest], axis=1), behind

  rows = [
    jnp.concatenate([tokens[n // FORK, : CUT[n]], new[n], last[n]])
    for n in range(ROWS)
  ]
  whole = jnp.stack([jnp.pad(x, (0, LENGTH + NEW + 2 - len(x))) for x in rows])
  index = jnp.broadcast_to(jnp.arange(whole.shape[1]), whole.shape)
  segments = (index < (CUT + NEW + 2)[:, None]).astype(jnp.int32)
  want = jax.jit(model.apply)(params, whole, index, segments)
  return *run(params), want


def test_a_fork_sees_its_part_of_the_trunk_and_its_own_tokens(grown):
  seen, _, want = grown
  for row, cut in enumerate(CUT.tolist()):
    np.testing.assert_allclose(seen[row], want[row, cut : cut + NEW], atol=1e-5)


def test_pages_hold_trunk_and_tail_wherever_the_cut_falls_in_a_page(grown):
  _, behind, want = grown
  for row, cut in enumerate((CUT + NEW).tolist()):
    np.testing.assert_allclose(behind[row], want[row, cut : cut + 2], atol=1e-5)


def test_a_page_out_of_range_is_dropped():
  model = tiny.decoder()
  pool = model.init_pages(2, PAGE)
  cache = jax.tree.map(jnp.ones_like, model.init_cache(1, PAGE))
  zero = jnp.zeros(1, jnp.int32)
  same = model.store(pool, zero + 2, zero, zero, cache)
  assert all(not np.any(x) for x in jax.tree.leaves(same))
  full = model.store(pool, zero + 1, zero, zero, cache)
  assert all(np.all(x[1] == 1) for x in jax.tree.leaves(full))


def test_a_trunk_in_bfloat16_keeps_its_sums_in_float32():
  model = tiny.decoder(dtype="bfloat16")
  params = tiny.params(model)
  tokens, new = draw(1, 1, LENGTH), draw(2, 1, 1)
  where = at(jnp.zeros(1, jnp.int32), LENGTH)
  _, trunk = model.extend(
    params, model.init_cache(1, LENGTH), tokens, where, LENGTH
  )
  cut = jnp.array([LENGTH])
  forked, _ = model.extend(
    *(params, model.init_cache(1, 1), new, at(cut, 1), 1),
    trunk=trunk,
    cut=cut,
  )
  longer = model.init_cache(1, LENGTH + 1)
  _, longer = model.extend(params, longer, tokens, where, LENGTH)
  plain, _ = model.extend(params, longer, new, at(cut, 1), LENGTH + 1)
  assert forked.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    forked.astype(jnp.float32), plain.astype(jnp.float32), atol=0.05
  )
