"""Supervised training: the likelihood of what is to be learnt, however rows are
put together."""

import functools

import jax
import numpy as np
import optax
import pytest

from rlx import compiles, metrics, sft, sharding
from rlx.data import sft as data
from tests import tiny

LINES = 8  # Of a batch.
LENGTH = 24


def rows():
  """Eight conversations of several lengths, one to three turns each."""
  rng = np.random.default_rng(0)
  say = lambda: " ".join(rng.choice(tiny.WORDS, rng.integers(1, 3)))
  return [
    {
      "messages": [
        {"role": role, "content": say()}
        for _ in range(1 + index % 2)
        for role in ("user", "assistant")
      ]
    }
    for index in range(LINES)
  ]


def lines(pack):
  """All rows as one batch of `LINES` lines; packed, most lines are empty."""
  found = data.sft_rows(rows(), tiny.tokenizer(), length=LENGTH, pack=pack)
  missing = LINES - len(found.tokens)
  pad = lambda x: np.pad(x, ((0, missing), (0, 0)))
  return found._replace(
    **{
      name: pad(getattr(found, name))
      for name in ("tokens", "mask", "segments", "positions")
    }
  )


@functools.cache
def trainer(microbatch_tokens=8192, mesh=None):
  # With the large eps, an update is a smooth function of its gradient.
  return sft.make_sft(
    tiny.policy(),
    optax.adam(0.5, eps=1.0),
    mesh=tiny.one_device() if mesh is None else mesh,
    microbatch_tokens=microbatch_tokens,
  )


def updates(batches, made=None, mesh=None):
  """Parameters and metrics after each update, from the same start."""
  made = trainer() if made is None else made
  mesh = tiny.one_device() if mesh is None else mesh
  places = sharding.shardings(tiny.policy().axes, mesh)
  params = jax.device_put(tiny.params(tiny.policy()), places)
  state = made.init(params)
  found = sft.train(made, params, state, iter(batches), mesh=mesh)
  return [
    (tiny.host(params), metrics.fetch(numbers), cursor)
    for params, _, numbers, cursor in found
  ]


def by_hand(batch):
  """Mean negative log-likelihood of the learnt tokens, one row at a time."""
  table = np.asarray(tiny.params(tiny.policy())["table"], float)
  losses = []
  for line in range(len(batch.tokens)):
    for segment in range(1, batch.segments[line].max() + 1):
      inside = batch.segments[line] == segment
      tokens = batch.tokens[line][inside]
      onehot = np.eye(tiny.VOCAB)[tokens]
      for t in np.flatnonzero(batch.mask[line][inside]):
        so_far = onehot[:t]
        logits = table.T @ [*so_far[-1], *so_far.mean(0), np.cos(t - 1)]
        losses.append(np.log(np.exp(logits).sum()) - logits[tokens[t]])
  return np.mean(losses), len(losses)


@pytest.mark.parametrize("pack", [False, True])
def test_the_loss_is_the_mean_over_the_tokens_to_learn(pack):
  batch = lines(pack)
  want, count = by_hand(batch)
  [(_, found, _)] = updates([batch])
  assert found["loss"] == pytest.approx(want, rel=1e-5)
  assert found["num_tokens"] == count == batch.mask.sum()
  assert count < (batch.segments > 0).sum()


def assert_same(got, want):
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  jax.tree.map(close, got[0], want[0])
  for name, value in want[1].items():
    close(got[1][name], value, err_msg=name)


def test_packed_is_unpacked():
  packed = lines(True)
  assert packed.segments.max() > 1
  assert_same(updates([packed])[0], updates([lines(False)])[0])


@pytest.mark.parametrize("tokens", [1, 2 * LENGTH, 0])
def test_micro_batches_add_up_to_the_whole_batch(tokens):
  batch = [lines(False)]
  assert_same(updates(batch, trainer(tokens))[0], updates(batch)[0])


def test_a_mesh_changes_nothing():
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2))
  batch = [lines(False)]
  split = updates(batch, trainer(2 * LENGTH, mesh), mesh)
  assert_same(split[0], updates(batch)[0])


def test_a_batch_with_nothing_to_learn_changes_nothing():
  batch = lines(False)
  empty = batch._replace(mask=np.zeros_like(batch.mask))
  [(params, found, _)] = updates([empty])
  want = tiny.host(tiny.params(tiny.policy()))
  np.testing.assert_array_equal(params["table"], want["table"])
  assert found["grad_norm"] == 0


def test_the_first_token_of_a_demonstration_follows_nothing():
  batch = lines(True)
  mask = batch.mask | ((batch.positions == 0) & (batch.segments > 0))
  assert mask.sum() > batch.mask.sum()
  assert_same(updates([batch._replace(mask=mask)])[0], updates([batch])[0])


def test_what_stands_in_padding_is_inert():
  batch = lines(False)
  odd = batch._replace(tokens=np.where(batch.segments > 0, batch.tokens, 6))
  got, want = updates([odd])[0], updates([batch])[0]
  np.testing.assert_array_equal(got[0]["table"], want[0]["table"])
  assert got[1] == want[1]


def test_the_loss_falls_and_the_cursor_goes_on():
  batches = data.sft_batches(
    rows(),
    tiny.tokenizer(),
    batch_size=LINES,
    length=LENGTH,
    seed=0,
    num_epochs=30,
  )
  found = updates(batches)
  losses = [numbers["loss"] for _, numbers, _ in found]
  assert losses[-1] < 0.5 * losses[0]
  assert [cursor for *_, cursor in found] == [8 * (i + 1) for i in range(30)]


@pytest.mark.parametrize("devices", [1, 8])
def test_one_program_serves_every_update(devices):
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:devices])
  places = sharding.shardings(tiny.policy().axes, mesh)
  made = trainer(2 * LENGTH, mesh)
  params = jax.device_put(tiny.params(tiny.policy()), places)
  found = sft.train(
    made, params, made.init(params), iter([lines(False)] * 3), mesh=mesh
  )
  metrics.fetch(next(found)[2])
  with compiles.count() as counted:
    for _, _, numbers, _ in found:
      metrics.fetch(numbers)
  assert counted.num == 0


def test_parameters_and_state_are_donated():
  made, params = trainer(), tiny.params(tiny.policy())
  state = made.init(params)
  found = sft.train(
    made, params, state, iter([lines(False)]), mesh=tiny.one_device()
  )
  next(found)
  assert params["table"].is_deleted()


def test_lines_that_do_not_divide_over_the_mesh_are_refused():
  mesh = sharding.make_mesh(sharding.MeshConfig())
  odd = data.sft_rows(rows()[:3], tiny.tokenizer(), length=LENGTH)
  with pytest.raises(ValueError, match="batch_size=3 does not divide"):
    updates([odd], trainer(0, mesh), mesh)
