"""Episodes on the device are those of the host: the same record, bit for bit."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from rlx import compiles, sharding
from rlx import tokenizer as tokenizers
from rlx.envs import frozen_lake
from rlx.envs.device import language
from rlx.rollout import (
  device_program,
  device_turns,
  engine,
  episodes,
  on_device,
  record,
  sampling,
)
from tests import tiny

TURNS = 5
LAKE = frozen_lake.FrozenLake(size=3, turns=TURNS, held_out=4)
SLIPPERY = dataclasses.replace(LAKE, slippery=True)
WORDS = tokenizers.WordTokenizer(LAKE.words())
# Observations have nine words, with two markers, and a token that closes.
SHAPE = engine.Shape(4, 2, 11, 12, 2, TURNS)
ARRAYS = [*record.PER_ROW]


@pytest.fixture(scope="module")
def decoder() -> Any:
  """A decoder that says words of the game, and its parameters."""
  model = tiny.decoder(vocab_size=WORDS.vocab_size + 2, num_layers=1)
  return model, tiny.params(model)


def make(model, task, shape=SHAPE, mesh=None, sampler=None):
  game = task.on_device()
  return device_program.make_program(
    model,
    shape,
    game,
    language.make(game, WORDS, model.vocab_size),
    sampler=sampler or sampling.Sampling(),
    stop_ids=WORDS.stop_ids,
    mesh=tiny.one_device() if mesh is None else mesh,
  )


def make_host(model, shape=SHAPE, sampler=None):
  sampler = sampler or sampling.Sampling()
  return tiny.make_engine(
    model, shape, sampler=sampler, stop_ids=WORDS.stop_ids
  )


def settings(task, first, num=4):
  ids = list(range(first, first + num))
  return {
    "prompt_ids": ids,
    "indices": ids,
    "version": 3,
    "evidence": task.evidence,
  }


def on_host(made, params, task, seed=0, first=0):
  return episodes.play(
    *(made, params, jax.random.key(seed), WORDS),
    lambda index: task.episode(index, "train"),
    **settings(task, first, made.shape.num_prompts),
  )


def on_chip(program, params, task, seed=0, first=0):
  return on_device.play(
    *(program, params, jax.random.key(seed), WORDS, "train"),
    **settings(task, first, program.shape.num_prompts),
  )


def assert_same(one, other):
  """Everything but the clocks."""
  for name in ARRAYS:
    a, b = getattr(one.record, name), getattr(other.record, name)
    assert a.dtype == b.dtype, name
    np.testing.assert_array_equal(a, b, err_msg=name)
  assert list(one.record.columns) == list(other.record.columns)
  for name, column in one.record.columns.items():
    np.testing.assert_array_equal(column, other.record.columns[name], name)
  assert one.record.version == other.record.version
  np.testing.assert_array_equal(one.success, other.success)
  np.testing.assert_array_equal(one.parse_errors, other.parse_errors)
  assert one.parse_errors.dtype == other.parse_errors.dtype
  assert one.success.dtype == other.success.dtype
  assert one.stop == other.stop
  assert one.origin == other.origin
  assert one.seconds.keys() == other.seconds.keys()


@pytest.fixture(scope="module")
def host(decoder):
  return make_host(decoder[0])


@pytest.fixture(scope="module")
def program(decoder):
  return make(decoder[0], LAKE)


@pytest.mark.parametrize("task", [LAKE, SLIPPERY], ids=["still", "slippery"])
def test_the_record_is_the_hosts_bit_for_bit(decoder, host, program, task):
  params = decoder[1]
  # Whether it is slippery is in the state, not in what is compiled.
  made = program._replace(game=task.on_device())
  seen, slipped = set(), set()
  for seed in range(4):
    want = on_host(host, params, task, seed, first=10 * seed)
    with compiles.count() as counted:
      got = on_chip(made, params, task, seed, first=10 * seed)
    # One program is compiled once, however ragged its batches are.
    assert counted.num == 0 or (task is LAKE and seed == 0)
    assert_same(got, want)
    seen |= {*want.stop}
    slipped |= {*want.record.next_state.ravel().tolist()}
  assert seen >= {"max_turns", "completed"}
  assert len(slipped) > 3


def test_what_does_not_fit_between_turns_ends_the_episode_as_on_the_host(
  decoder,
):
  """A turn that is not closed needs one token more than there is room for."""
  model, params = decoder
  shape = SHAPE._replace(turn_tokens=11, turns=2)
  want = on_host(make_host(model, shape), params, LAKE)
  got = on_chip(make(model, LAKE, shape), params, LAKE)
  assert "context_overflow" in want.stop
  assert_same(got, want)


def test_eight_devices_play_the_episodes_of_one(decoder, program):
  _, params = decoder
  mesh = sharding.make_mesh(sharding.MeshConfig())
  split = make(decoder[0], LAKE, mesh=mesh)
  got = on_chip(split, params, LAKE, first=20)
  want = on_chip(program, params, LAKE, first=20)
  for name in ("tokens", "mask", "segment", "reward", "state", "action"):
    np.testing.assert_array_equal(
      getattr(got.record, name), getattr(want.record, name), name
    )
  np.testing.assert_allclose(
    got.record.log_probs, want.record.log_probs, rtol=1e-5, atol=1e-6
  )
  assert got.stop == want.stop


def test_a_first_observation_that_is_too_long_is_refused(decoder, program):
  short = program._replace(shape=SHAPE._replace(prompt_tokens=10))
  with pytest.raises(ValueError, match="has 11 tokens.*max_prompt_length=10"):
    on_chip(short, decoder[1], LAKE)


def broken():
  """The lake, but what ends an episode there pays no number."""
  game = LAKE.on_device()

  def step(state, action, xp):
    found = game.step(state, action, xp)
    paid = xp.where(found.terminated, xp.float32(xp.nan), found.reward)
    return found._replace(reward=paid)

  return game._replace(step=step)


class Broken(frozen_lake.FrozenLake):
  def on_device(self):
    return broken()


def test_a_reward_that_is_not_finite_costs_its_episode_only(decoder, program):
  model, params = decoder
  made = make(model, Broken(size=3, turns=TURNS, held_out=4))
  whole, found = on_chip(program, params, LAKE), on_chip(made, params, LAKE)
  lost = np.array([stop == "completed" for stop in whole.stop])
  assert 0 < lost.sum() < SHAPE.rows
  for stop, was, gone in zip(found.stop, whole.stop, lost, strict=True):
    assert stop == ("environment_error" if gone else was)
  assert (found.record.turns[lost] == 0).all()
  assert not found.record.mask[lost].any()
  assert np.isfinite(found.record.reward).all()
  for name in ("tokens", "mask", "log_probs", "reward", "turns"):
    np.testing.assert_array_equal(
      getattr(found.record, name)[~lost], getattr(whole.record, name)[~lost]
    )


def test_a_batch_without_a_finite_reward_is_an_error(decoder, program):
  def run(*args):
    trace, spent = program.run(*args)
    error = device_turns.STOPS.index("environment_error")
    return trace._replace(stop=np.full_like(trace.stop, error)), spent

  with pytest.raises(RuntimeError, match="all 8 episodes of a batch"):
    on_chip(program._replace(run=run), decoder[1], LAKE)


def test_nothing_crosses_from_the_host_while_episodes_are_played(
  decoder, program
):
  want = on_chip(program, decoder[1], LAKE)
  key = jax.random.key(0)

  def run(*args):
    # What is given is put on the device before, and the record fetched, by name.
    with jax.transfer_guard("disallow"):
      return program.run(args[0], key, *args[2:])

  found = on_chip(program._replace(run=run), decoder[1], LAKE)
  assert_same(found, want)


SETTINGS: Any = {"stop_ids": (tiny.END,), "mesh": None}


@pytest.mark.parametrize(
  "wanted, task, there",
  [
    ("auto", LAKE, True),
    ("always", LAKE, True),
    ("never", LAKE, False),
    ("auto", tiny.Say(), False),
  ],
)
def test_a_task_with_a_form_for_the_device_is_played_there_unless_told(
  decoder, wanted, task, there
):
  found = on_device.maker(wanted, task, WORDS, decoder[0], SETTINGS)
  assert (found is not None) == there


def test_what_the_device_cannot_play_is_refused_where_it_must(decoder):
  with pytest.raises(ValueError, match="on_device=always: Say has no form"):
    on_device.maker("always", tiny.Say(), WORDS, decoder[0], SETTINGS)
