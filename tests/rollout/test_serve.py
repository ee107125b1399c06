"""Continuous batching: what a job writes depends on the job alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import assemble, compiles, sharding
from rlx.models import policy as model_policy
from rlx.rollout import completions, prefill, sampling, serve, slots
from rlx.rollout import config as rollouts
from tests import tiny

PROMPTS = np.array([[3, 5, 4], [3, 6, 0], [5, 0, 0], [6, 5, 5]], np.int32)
LENGTH = np.array([3, 2, 1, 3], np.int32)
PROMPT, SAMPLE = np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)
JOBS, NEW = 16, 7
KEY = jax.random.key(0)
SHAPE = tiny.shape(turns=1, action_tokens=NEW)


@pytest.fixture(scope="module", autouse=True)
def short_windows():
  """So that sequences of a few tokens climb all of them."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(slots, "windows", lambda most: (2, 4, most))
    yield


def make(model, num_slots, *, jobs=JOBS, mesh=None, stop_ids=(tiny.END,), **kw):
  sizes = serve.Sizes(4, jobs, 3, NEW, num_slots, **kw)
  return serve.make_serve(
    model,
    sizes,
    sampler=sampling.Sampling(),
    stop_ids=stop_ids,
    mesh=tiny.one_device() if mesh is None else mesh,
  )


def orders(order=None, budget: Any = NEW):
  order = np.arange(JOBS) if order is None else np.asarray(order)
  each = np.broadcast_to(np.asarray(budget, np.int32), (JOBS,))
  return serve.Orders(
    prompt=PROMPT[order],
    prompt_id=PROMPT[order] + 7,
    sample=SAMPLE[order],
    budget=each[order],
  )


def run(made, params, asked=None, prompts=PROMPTS, length=LENGTH):
  asked = orders() if asked is None else asked
  return tiny.host(made(params, KEY, prompts, length, asked))


def at_once(model, params, **kwargs):
  """What an engine of sixteen rows samples in one go."""
  made = tiny.make_engine(model, SHAPE, **kwargs)
  ids = made.place(np.arange(7, 11, dtype=np.int32))
  given = made.place(PROMPTS), made.place(LENGTH)
  return tiny.host(made.first(params, KEY, ids, *given)[0])


def check_equal(found, want):
  np.testing.assert_array_equal(found.tokens, want.tokens)
  np.testing.assert_array_equal(found.length, want.length)
  np.testing.assert_array_equal(found.stopped, want.stopped)
  for name in ("log_probs", "raw_log_probs"):
    np.testing.assert_allclose(
      getattr(found, name), getattr(want, name), rtol=1e-5, atol=1e-6
    )


@pytest.fixture(scope="module")
def small():
  """The tiny policy, its parameters, four slots, and what they write."""
  model = tiny.policy()
  params = tiny.params(model)
  made = make(model, 4)
  return model, params, made, run(made, params)


def test_jobs_end_in_both_ways_at_different_times(small):
  out = small[-1]
  assert 0 < out.stopped.sum() < JOBS
  assert len({*out.length.tolist()}) > 3


def test_slots_write_what_is_written_at_once(small):
  model, params, _, out = small
  check_equal(out, at_once(model, params))


@pytest.mark.parametrize(
  "num_slots, settings", [(1, {}), (16, {"fewer": 3}), (4, {"check_every": 3})]
)
def test_the_number_of_slots_changes_nothing(small, num_slots, settings):
  model, params, _, out = small
  made = make(model, num_slots, **settings)
  check_equal(run(made, params), out)


def test_the_order_of_the_queue_changes_nothing(small):
  _, params, made, out = small
  order = np.random.default_rng(0).permutation(JOBS)
  found = run(made, params, orders(order))
  check_equal(found, jax.tree.map(lambda x: x[order], out))


def test_a_mesh_changes_nothing(small):
  model, params, _, out = small
  mesh = sharding.make_mesh(sharding.MeshConfig(data=4, fsdp=2))
  made = make(model, 8, mesh=mesh)
  check_equal(run(made, params), out)
  # In another order, a device needs other prompts, and the same number.
  order = np.roll(np.arange(JOBS), 4)
  found = run(made, params, orders(order))
  check_equal(found, jax.tree.map(lambda x: x[order], out))


def test_what_else_is_in_the_batch_changes_nothing(small):
  _, params, made, out = small
  budget = np.where(np.arange(JOBS) % 3 == 0, NEW, np.arange(JOBS) % 4)
  found = run(made, params, orders(budget=budget))
  at = np.arange(NEW)[None]
  cut = np.minimum(out.length, budget)
  want = np.where(at < cut[:, None], out.tokens, 0)
  np.testing.assert_array_equal(found.tokens, want)
  np.testing.assert_array_equal(found.length, cut)
  np.testing.assert_array_equal(
    found.stopped, out.stopped & (out.length <= budget)
  )


def test_budgets_of_one_and_none(small):
  _, params, made, out = small
  for most in (0, 1):
    found = run(made, params, orders(budget=most))
    assert (found.length == most).all()
    np.testing.assert_array_equal(found.tokens[:, :most], out.tokens[:, :most])
    assert (found.tokens[:, most:] == 0).all()
    assert (found.log_probs[:, most:] == 0).all()


def test_every_job_may_stop_at_once(small):
  model, params, _, out = small
  made = make(model, 4, stop_ids=tuple(range(tiny.VOCAB)))
  found = run(made, params)
  assert found.stopped.all()
  assert (found.length == 1).all()
  np.testing.assert_array_equal(found.tokens[:, 0], out.tokens[:, 0])


def test_one_job(small):
  model, params, _, out = small
  asked = jax.tree.map(lambda x: x[5:6], orders())
  found = run(make(model, 4, jobs=1), params, asked)
  check_equal(found, jax.tree.map(lambda x: x[5:6], out))


def test_what_a_slot_held_before_is_never_seen(small):
  model, params, _, out = small
  dirty = lambda *sizes: model.init_cache(*sizes) + 1e6
  made = make(model._replace(init_cache=dirty), 4)
  check_equal(run(made, params), out)


def test_nothing_crosses_from_the_host_while_slots_are_filled(small):
  _, params, made, out = small
  key = jax.random.key(0)
  # What is asked is put on the device before, by name.
  with jax.transfer_guard("disallow"):
    found = made(params, key, PROMPTS, LENGTH, orders())
    jax.block_until_ready(found)
  check_equal(tiny.host(found), out)


def test_another_batch_of_other_lengths_compiles_nothing(small):
  _, params, made, _ = small
  with compiles.count() as counted:
    run(made, params, orders(np.arange(JOBS)[::-1], 3), PROMPTS, LENGTH[::-1])
  assert counted.num == 0


@pytest.fixture(scope="module")
def decoder():
  """A real decoder, and what four slots write with prompts in chunks."""
  model = tiny.decoder()
  params = tiny.params(model)
  made = make(model, 4, prefill_tokens=2)
  return model, params, run(made, params)


def test_slots_of_a_decoder_write_what_is_written_at_once(decoder):
  model, params, out = decoder
  check_equal(out, at_once(model, params))


@pytest.mark.parametrize("num_slots", [1, 16])
def test_slots_and_order_change_nothing_of_a_decoder(
  decoder, num_slots, monkeypatch
):
  model, params, out = decoder
  monkeypatch.setattr(slots, "windows", lambda most: (most,))
  order = np.random.default_rng(num_slots).permutation(JOBS)
  found = run(make(model, num_slots), params, orders(order))
  check_equal(found, jax.tree.map(lambda x: x[order], out))


def test_a_mesh_that_splits_parameters_changes_nothing(decoder):
  _, params, out = decoder
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2))
  model = model_policy.make_policy(tiny.DECODER, sharding.constrainer(mesh))
  placed = jax.device_put(params, sharding.shardings(model.axes, mesh))
  check_equal(run(make(model, 4, mesh=mesh), placed), out)


def test_log_probs_are_those_of_the_trainer(decoder):
  model, params, out = decoder
  tokens = np.zeros((JOBS, 3 + NEW), np.int32)
  index = np.arange(3 + NEW)
  start = LENGTH[PROMPT]
  valid = index[None] < (start + out.length)[:, None]
  for row in range(JOBS):
    tokens[row, :3] = PROMPTS[PROMPT[row]]
    tokens[row, start[row] : start[row] + NEW] = out.tokens[row]

  @jax.jit
  def forward(params):
    given = tokens, np.broadcast_to(index, tokens.shape), valid
    given = (jnp.asarray(x, jnp.int32) for x in given)
    hidden = model.apply(params, *given)
    return jax.nn.log_softmax(model.logits(params, hidden))

  found = np.asarray(forward(params))
  for row in range(JOBS):
    at = np.arange(out.length[row])
    want = found[row, start[row] - 1 + at, out.tokens[row, at]]
    gap = np.abs(want - out.raw_log_probs[row, at])
    assert gap.max() <= 1e-5


@pytest.mark.parametrize("chunk", [1, 4, 22])
def test_a_prompt_in_chunks_is_the_whole_prompt(chunk):
  model, rng = tiny.policy(), np.random.default_rng(0)
  params = tiny.params(model)
  tokens = jnp.asarray(rng.integers(1, tiny.VOCAB, (5, 11)), jnp.int32)
  length = jnp.array([11, 1, 4, 8, 2])
  whole, kept = prefill.prefill(model, params, tokens, length, 55)
  hidden, cache = prefill.prefill(model, params, tokens, length, chunk)
  assert cache.shape[1] == prefill.padded(11, chunk)
  np.testing.assert_allclose(hidden, whole, rtol=1e-6, atol=1e-6)
  seen = np.arange(11)[None] < np.asarray(length)[:, None]
  np.testing.assert_array_equal(
    np.asarray(cache[:, :11])[seen], np.asarray(kept)[seen]
  )
  # Split over five devices, a prompt each.
  split, _ = prefill.prefill(model, params, tokens, length, chunk, devices=5)
  np.testing.assert_allclose(split, whole, rtol=1e-6, atol=1e-6)


def test_slots_that_do_not_divide_over_the_mesh_are_refused():
  mesh = sharding.make_mesh(sharding.MeshConfig())
  with pytest.raises(ValueError, match=r"rollout.slots=6 .* 8"):
    make(tiny.policy(), 6, mesh=mesh)


def test_windows_are_halves_of_the_longest_and_no_shorter_than_a_piece():
  assert [patched(most) for most in (7, 64, 200, 512, 4096)] == [
    (7,),
    (64,),
    (100, 200),
    (64, 128, 256, 512),
    (512, 1024, 2048, 4096),
  ]


def test_completions_from_slots_are_those_of_the_whole_batch(small):
  model, params = small[:2]

  def score(rows, texts, ids, truncated):
    paid = np.arange(JOBS) / 2
    return completions.Scored(paid, paid > 4, {}, {})

  def complete(made):
    return completions.complete(
      *(made, params, KEY, tiny.tokenizer(), score),
      prompt_ids=range(7, 11),
      prompts=[PROMPTS[i, : LENGTH[i]].tolist() for i in range(len(PROMPTS))],
      rows=[{}] * len(PROMPTS),
      version=0,
    )

  settings = {"sampler": sampling.Sampling(), "stop_ids": (tiny.END,)}
  settings |= {"mesh": tiny.one_device()}
  found = complete(serve.make_engine(model, SHAPE, slots=4, **settings))
  want = complete(tiny.make_engine(model, SHAPE))
  np.testing.assert_array_equal(found.record.tokens, want.record.tokens)
  np.testing.assert_array_equal(found.record.mask, want.record.mask)
  assert found.stop == want.stop


def test_slots_are_for_completions_and_one_turn():
  settings = {"sampler": sampling.Sampling(), "stop_ids": (tiny.END,)}
  settings |= {"mesh": tiny.one_device()}
  with pytest.raises(ValueError, match="turns=2"):
    serve.make_engine(tiny.policy(), tiny.shape(), slots=4, **settings)
  with pytest.raises(ValueError, match=r"rollout.slots=-1"):
    rollouts.RolloutConfig(slots=-1)
  config = tiny.EXPERIMENT
  slotted = dataclasses.replace(config.rollout, slots=4)
  with pytest.raises(ValueError, match=r"rollout.slots=4: .* completions"):
    assemble.assemble(dataclasses.replace(config, rollout=slotted))


patched = slots.windows
