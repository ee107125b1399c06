"""The compiled programs of a rollout: caches that never overflow, and turns
that are one long sequence to the model that trains."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import compiles, sharding
from rlx.objective import log_probs as scoring
from rlx.rollout import engine, sampling
from tests import tiny

TURNS = 4
SIZES = list(itertools.product((1, 5), (1, 7), (1, 4), (1, 2, 9)))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_cache_never_overflows_and_every_window_holds_its_turn(sizes):
  shape = engine.Shape(4, 4, *sizes)
  assert shape.window(0) == shape.action_tokens <= shape.cache_length
  longest = shape.action_tokens  # Behind the prompt.
  for turn in range(1, shape.turns):
    # The last token again, then what was said, whole with its padding.
    written = longest - 1 + shape.turn_tokens + 1
    # A row that was shown little and one that was shown most.
    longest += shape.turn_tokens + shape.action_tokens
    assert max(written, longest) <= shape.window(turn) <= shape.cache_length
    # A dead row starts at 0 and a live one nowhere beyond.
    assert written <= shape.cache_length
  assert longest == shape.tail == shape.length - shape.prompt_tokens
  assert longest <= shape.cache_length


def test_there_are_at_most_five_windows_to_compile():
  shape = engine.Shape(4, 8, 20, 20, 2, 50)
  windows = [shape.window(turn) for turn in range(50)]
  assert windows == sorted(windows)
  assert len(set(windows)) <= 5


class OneWindow(engine.Shape):
  """Reads the whole cache in every turn."""

  def window(self, turn):
    return self.cache_length


def play(made, params, seed=0):
  return tiny.play(made, params, tiny.Say(turns=made.shape.turns), seed)


@pytest.fixture(scope="module")
def decoder():
  """A real decoder's parameters, engine, and what it plays in four turns."""
  model = tiny.decoder()
  params = tiny.params(model)
  made = tiny.make_engine(model, tiny.shape(turns=TURNS))
  return model, params, made, play(made, params)


def recompute(model, params, log, temperature=1.0):
  """Log-probabilities of all tokens by one forward pass, as a learner has."""

  @jax.jit
  def forward(params, tokens, valid):
    index = jnp.arange(tokens.shape[1])
    positions = jnp.broadcast_to(index, tokens.shape)
    hidden = model.apply(params, tokens, positions, valid.astype(jnp.int32))
    return scoring.token_log_probs(
      model.logits, params, hidden, tokens, temperature=temperature
    )[0]

  rollout = log.rollout()
  return np.asarray(forward(params, rollout.tokens, rollout.valid))


def test_turns_from_the_cache_are_one_long_sequence_to_the_trainer(decoder):
  model, params, _, played = decoder
  log = played.record
  want = recompute(model, params, log)
  gap = np.abs(want - log.raw_log_probs)[log.mask]
  assert gap.max() <= 1e-5
  # Both ways to end a turn were met, so the last token was in the cache and
  # was not.
  ends = [
    np.isin(log.tokens, tiny.END) & log.mask,
    ~log.mask & (log.tokens == 1),
  ]
  assert all(x.any() for x in ends)
  assert (log.turns == TURNS).all()


def test_without_filters_both_log_probs_are_the_same_number(decoder):
  log = decoder[-1].record
  np.testing.assert_array_equal(log.log_probs, log.raw_log_probs)
  assert (log.log_probs[log.mask] < 0).all()
  assert (log.log_probs[~log.mask] == 0).all()


def test_the_same_call_is_the_same_batch_and_compiles_nothing(decoder):
  _, params, made, played = decoder
  with compiles.count() as counted:
    again = play(made, params)
  assert counted.num == 0
  np.testing.assert_array_equal(again.record.tokens, played.record.tokens)
  np.testing.assert_array_equal(again.record.log_probs, played.record.log_probs)


def test_nothing_crosses_from_the_host_while_turns_are_written(decoder):
  _, params, made, _ = decoder
  shape, key = made.shape, jax.random.key(0)
  put = lambda *sizes, value=1: made.place(np.full(sizes, value, np.int32))
  rows, width = shape.rows, shape.turn_tokens + 1
  prompts = put(4), put(4, 3, value=5), put(4, value=3)
  ids, said = (put(rows), put(rows)), put(rows, width, value=6)
  start, size = put(rows, value=4), put(rows, value=2)
  live = made.place(np.ones(rows, bool))
  with jax.transfer_guard("disallow"):
    _, kept = made.first(params, key, *prompts)
    told = (*ids, said, start, size, live)
    window = shape.window(1)
    decoded, _ = made.turn(params, key, kept, *told, window=window)
    jax.block_until_ready(decoded)
  assert (np.asarray(decoded.length) > 0).all()


def test_another_key_is_another_batch(decoder):
  _, params, made, played = decoder
  other = play(made, params, seed=1)
  assert (other.record.tokens != played.record.tokens).any()


@pytest.fixture(scope="module")
def small():
  """The tiny policy's parameters and what it plays in two turns."""
  params = tiny.params(tiny.policy())
  made = tiny.make_engine(tiny.policy(), tiny.shape())
  return params, play(made, params)


def test_windows_change_nothing(small):
  params, played = small
  whole = OneWindow(*tiny.shape())
  one = play(tiny.make_engine(tiny.policy(), whole), params)
  np.testing.assert_array_equal(one.record.tokens, played.record.tokens)
  np.testing.assert_allclose(
    one.record.log_probs, played.record.log_probs, rtol=1e-6, atol=1e-6
  )


def test_fewer_prompts_and_samples_are_the_same_rows(small):
  params, played = small
  shape = tiny.shape(num_prompts=2, num_samples=3, turns=1)
  fewer = play(tiny.make_engine(tiny.policy(), shape), params).record.tokens
  rows = [0, 1, 2, 4, 5, 6]
  first_turn = played.record.segment[rows, 3:5] % 2 == 0
  want = np.where(first_turn, played.record.tokens[rows, 3:5], 0)
  np.testing.assert_array_equal(fewer[:, 3:], want)


@pytest.mark.parametrize("tokens, devices", [(2, 1), (3, 2)])
def test_prompts_may_be_read_in_parts(small, tokens, devices):
  params, played = small
  made = engine.make_engine(
    *(tiny.policy(), tiny.shape(turns=1)),
    sampler=sampling.Sampling(),
    stop_ids=(tiny.END,),
    mesh=sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:devices]),
    prefill_tokens=tokens,
  )
  found = play(made, params).record.tokens
  first_turn = played.record.segment[:, 3:5] % 2 == 0
  want = np.where(first_turn, played.record.tokens[:, 3:5], 0)
  np.testing.assert_array_equal(found[:, 3:5], want)


def test_a_mesh_changes_no_sample(small):
  params, played = small
  mesh = sharding.make_mesh(sharding.MeshConfig(data=4, fsdp=2))
  made = tiny.make_engine(tiny.policy(), tiny.shape(), mesh=mesh)
  split = play(made, params)
  np.testing.assert_array_equal(split.record.tokens, played.record.tokens)
  np.testing.assert_allclose(
    split.record.log_probs, played.record.log_probs, rtol=1e-5, atol=1e-6
  )


def test_filters_and_temperature_are_in_the_recorded_log_probs(small):
  params, _ = small
  sampler = sampling.Sampling(temperature=0.6, top_p=0.7)
  shape = tiny.shape(turns=1)
  made = tiny.make_engine(tiny.policy(), shape, sampler=sampler)
  log = play(made, params).record
  want = recompute(tiny.policy(), params, log, temperature=0.6)
  np.testing.assert_allclose(
    log.raw_log_probs[log.mask], want[log.mask], atol=1e-5
  )
  # What was kept, and is renormalised, has at least 0.7 of the mass.
  kept = np.exp(log.raw_log_probs - log.log_probs)[log.mask]
  assert ((kept > 0.7 - 1e-5) & (kept < 1)).all()


def test_rows_that_do_not_divide_over_the_mesh_are_refused_with_the_numbers():
  mesh = sharding.make_mesh(sharding.MeshConfig())
  shape = tiny.shape(num_prompts=3, num_samples=5)
  with pytest.raises(ValueError, match="prompts × samples=15 .* 8 or 16"):
    tiny.make_engine(tiny.policy(), shape, mesh=mesh)
