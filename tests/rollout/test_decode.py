"""Decoding: prompts computed once, stops, and rows that are not alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.rollout import decode, sampling
from tests import tiny

PROMPTS = np.array([[3, 5, 4, 0], [3, 6, 6, 4], [5, 0, 0, 0]], np.int32)
LENGTH = np.array([3, 4, 1], np.int32)
MAX_NEW = 6
CACHE = 16


@pytest.fixture(scope="module")
def params():
  return tiny.params(tiny.policy())


@functools.partial(jax.jit, static_argnames=("stop_ids", "window", "greedy"))
def write(params, prompt, length, ids, samples, live, stop_ids, window, greedy):
  """Every row prefilled on its own, then decoded."""
  model = tiny.policy()
  hidden, cache = decode.prefill(model, params, prompt, length, CACHE)
  keys = sampling.row_keys(jax.random.key(5), ids, samples)
  out, _ = decode.decode(
    model,
    params,
    cache,
    hidden,
    length,
    live,
    keys,
    sampling=sampling.Sampling(temperature=0.0 if greedy else 1.0),
    stop_ids=stop_ids,
    max_new=MAX_NEW,
    window=window,
  )
  return out


def group(params, rows=12, stop_ids=(tiny.END,), window=CACHE, greedy=False):
  """Rows of the three prompts in turn, each another sample of its prompt."""
  which = np.arange(rows) % 3
  return tiny.host(
    write(
      *(params, PROMPTS[which], LENGTH[which], which, np.arange(rows) // 3),
      *(np.ones(rows, bool), stop_ids, window, greedy),
    )
  )


@pytest.mark.parametrize("name", ["tiny", "decoder"])
def test_a_shared_prefill_is_the_prefill_of_each_row(name):
  model = tiny.policy() if name == "tiny" else tiny.decoder()

  @jax.jit
  def both(params):
    tokens, length = jnp.asarray(PROMPTS), jnp.asarray(LENGTH)
    hidden, cache = decode.prefill(model, params, tokens, length, CACHE)
    repeat = lambda x: jnp.repeat(x, 4, axis=0)
    alone = decode.prefill(model, params, repeat(tokens), repeat(length), CACHE)
    return (repeat(hidden), decode.share(cache, 4)), alone

  shared, alone = tiny.host(both(tiny.params(model)))
  # Equal but for the order of sums, which may depend on the number of rows.
  close = functools.partial(np.testing.assert_allclose, atol=1e-6, rtol=1e-6)
  jax.tree.map(close, shared, alone)


def test_rows_end_with_the_first_stop_token_and_count_it(params):
  out = group(params, rows=48, stop_ids=(tiny.END, tiny.LEFT))
  stops = np.isin(out.tokens, (tiny.END, tiny.LEFT))
  assert {*out.tokens[np.arange(48), out.length - 1][out.stopped]} == {
    tiny.END,
    tiny.LEFT,
  }
  for row in range(48):
    inside = stops[row, : out.length[row]]
    assert not inside[:-1].any()
    assert inside[-1] == out.stopped[row]
    assert out.stopped[row] or out.length[row] == MAX_NEW
  # Both ways of ending are met.
  assert 0 < out.stopped.sum() < 48


def test_a_row_that_has_ended_writes_nothing(params):
  out = group(params, rows=48)
  after = np.arange(MAX_NEW)[None] >= out.length[:, None]
  assert after.any()
  assert (out.tokens[after] == 0).all()
  assert (out.log_probs[after] == 0).all()
  assert (out.raw_log_probs[after] == 0).all()
  assert (out.log_probs[~after] < 0).all()


def test_without_stop_ids_every_row_is_full(params):
  out = group(params, stop_ids=())
  assert (out.length == MAX_NEW).all()
  assert not out.stopped.any()


def test_what_is_drawn_before_the_stop_does_not_depend_on_it(params):
  free, stopped = group(params, stop_ids=()), group(params)
  inside = np.arange(MAX_NEW)[None] < stopped.length[:, None]
  np.testing.assert_array_equal(stopped.tokens[inside], free.tokens[inside])
  np.testing.assert_array_equal(
    stopped.log_probs[inside], free.log_probs[inside]
  )


def test_the_samples_of_a_prompt_differ(params):
  out = group(params, rows=24, stop_ids=())
  for prompt in range(3):
    rows = {tuple(row) for row in out.tokens[prompt::3].tolist()}
    assert len(rows) == 8


def test_greedy_samples_of_a_prompt_are_one(params):
  out = group(params, greedy=True)
  for prompt in range(3):
    assert len({tuple(row) for row in out.tokens[prompt::3].tolist()}) == 1
  assert (out.log_probs == 0).all()


@pytest.mark.parametrize("order", [[3, 0, 7, 1], [11]])
def test_a_row_is_the_same_in_any_slot_of_any_batch(params, order):
  want = group(params)
  which = np.array(order)
  got = write(
    *(params, PROMPTS[which % 3], LENGTH[which % 3], which % 3, which // 3),
    *(np.ones(len(which), bool), (tiny.END,), CACHE, False),
  )
  np.testing.assert_array_equal(got.tokens, want.tokens[which])
  np.testing.assert_allclose(
    got.log_probs, want.log_probs[which], rtol=1e-6, atol=1e-6
  )


def test_dead_rows_write_nothing_and_disturb_nobody(params):
  live = np.arange(12) % 2 == 0
  which = np.arange(12) % 3
  out = tiny.host(
    write(
      *(params, PROMPTS[which], LENGTH[which], which, np.arange(12) // 3),
      *(live, (tiny.END,), CACHE, False),
    )
  )
  want = group(params)
  assert (out.length[~live] == 0).all()
  assert not out.stopped[~live].any()
  assert (out.tokens[~live] == 0).all()
  for field in dataclasses.fields(out):
    found, all_live = getattr(out, field.name), getattr(want, field.name)
    np.testing.assert_array_equal(found[live], all_live[live])


def test_slots_beyond_the_window_change_nothing(params):
  # The longest prompt has 4 tokens: 4 + MAX_NEW slots are enough.
  whole, narrow = group(params), group(params, window=4 + MAX_NEW)
  np.testing.assert_array_equal(narrow.tokens, whole.tokens)
  np.testing.assert_allclose(
    narrow.log_probs, whole.log_probs, rtol=1e-6, atol=1e-6
  )


@jax.jit
def extended(params, first, second, start, length):
  """A prompt, then a chunk; the second time with its last token again."""
  model = tiny.policy()
  tokens = jnp.concatenate([first, second], 1)
  ones = jnp.ones_like(tokens)
  index = jnp.cumsum(ones, axis=1) - 1
  whole = model.apply(params, tokens, index, ones)
  _, cache = decode.prefill(model, params, first, start, CACHE)
  plain, _ = decode.extend(model, params, cache, second, start, length, CACHE)
  again = jnp.concatenate([first[:, -1:], second], 1)
  with_last, _ = decode.extend(
    model, params, cache, again, start - 1, length + 1, CACHE
  )
  return whole[:, -1], plain, with_last


def test_a_chunk_goes_on_from_the_cache_and_its_last_token_may_come_again(
  params,
):
  rng = np.random.default_rng(0)
  first, second = rng.integers(1, 7, (2, 4)), rng.integers(1, 7, (2, 3))
  whole, plain, again = extended(
    params, first, second, np.full(2, 4), np.full(2, 3)
  )
  np.testing.assert_allclose(plain, whole, rtol=1e-6)
  np.testing.assert_allclose(again, whole, rtol=1e-6)
