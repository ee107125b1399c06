"""Draws: which tokens may be drawn, how often, and what is said of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.rollout import sampling
from tests import tiny

# Probabilities 0.4, 0.3, 0.15, 0.1, 0.05 in an order of their own.
PROBS = np.array([0.1, 0.4, 0.05, 0.3, 0.15], np.float32)
LOGITS = np.log(PROBS)
NUM = 20_000

SETTINGS = {
  "plain": sampling.Sampling(),
  "cool": sampling.Sampling(temperature=0.5),
  "top-k": sampling.Sampling(top_k=3),
  "top-p": sampling.Sampling(top_p=0.75),
  "min-p": sampling.Sampling(min_p=0.3),
  "all": sampling.Sampling(temperature=0.7, top_k=4, top_p=0.9, min_p=0.2),
}


def support(logits, setting):
  """bool [V]: which tokens of one row may be drawn."""
  keep = sampling.support(jnp.asarray(logits, jnp.float32)[None], setting)
  return np.ones(len(logits), bool) if keep is None else np.asarray(keep[0])


@pytest.mark.parametrize(
  "fields, kept",
  [
    ({"top_k": 1}, [1]),
    ({"top_k": 2}, [1, 3]),
    ({"top_k": 3}, [1, 3, 4]),
    ({"top_k": 5}, [0, 1, 2, 3, 4]),
    ({"top_k": 9}, [0, 1, 2, 3, 4]),
    # The mass before a token must be below p: 0, 0.4, 0.7, 0.85, 0.95.
    ({"top_p": 0.01}, [1]),
    ({"top_p": 0.39}, [1]),
    ({"top_p": 0.5}, [1, 3]),
    ({"top_p": 0.75}, [1, 3, 4]),
    ({"top_p": 0.9}, [0, 1, 3, 4]),
    ({"top_p": 0.99}, [0, 1, 2, 3, 4]),
    # At least min_p times 0.4.
    ({"min_p": 0.1}, [0, 1, 2, 3, 4]),
    ({"min_p": 0.2}, [0, 1, 3, 4]),
    ({"min_p": 0.3}, [1, 3, 4]),
    ({"min_p": 0.7}, [1, 3]),
    ({"min_p": 1.0}, [1]),
    # Of top-k's three, renormalised: 0.47, 0.35, 0.18. The mass is theirs.
    ({"top_k": 3, "top_p": 0.8}, [1, 3]),
    ({"top_k": 3, "top_p": 0.85}, [1, 3, 4]),
    ({"top_k": 4, "top_p": 0.99, "min_p": 0.5}, [1, 3]),
  ],
)
def test_the_support_is_the_hand_made_one(fields, kept):
  found = support(LOGITS, sampling.Sampling(**fields))
  assert np.flatnonzero(found).tolist() == kept


def test_without_filters_there_is_no_support_to_compute():
  logits = jnp.asarray(LOGITS)[None]
  assert sampling.support(logits, sampling.Sampling()) is None


def test_tokens_tied_with_the_last_one_kept_are_kept():
  logits = np.log(np.array([0.1, 0.3, 0.3, 0.3], np.float32))
  for setting in (
    sampling.Sampling(top_k=1),
    sampling.Sampling(top_p=0.2),
    sampling.Sampling(min_p=1.0),
  ):
    found = support(logits, setting)
    assert found.tolist() == [False, True, True, True]


row_keys = jax.jit(sampling.row_keys)


@functools.cache
def drawn(name):
  """Draws of NUM rows with the same logits, each with a key of its own."""

  @jax.jit
  def draw(logits, keys):
    rows = jnp.broadcast_to(logits, (NUM, len(PROBS)))
    return sampling.draw(rows, keys, jnp.arange(NUM) % 13, SETTINGS[name])

  number = np.arange(NUM)
  keys = row_keys(jax.random.key(7), number // 100, number % 100)
  return tiny.host(draw(LOGITS, keys))


def expected(setting):
  """The distribution that is sampled, in float64, from the definitions."""
  scaled = LOGITS.astype(float) / setting.temperature
  probs = np.where(support(scaled, setting), np.exp(scaled), 0)
  return probs / probs.sum()


@pytest.mark.parametrize("name", SETTINGS)
def test_log_probs_are_of_the_distribution_that_sampled(name):
  found, want = drawn(name), expected(SETTINGS[name])
  assert set(found.token) == set(np.flatnonzero(want))
  np.testing.assert_allclose(
    np.exp(found.log_prob), want[found.token], rtol=1e-5
  )


@pytest.mark.parametrize("name", SETTINGS)
def test_raw_log_probs_have_the_temperature_and_the_whole_vocabulary(name):
  found = drawn(name)
  scaled = np.exp(LOGITS.astype(float) / SETTINGS[name].temperature)
  want = scaled / scaled.sum()
  np.testing.assert_allclose(
    np.exp(found.raw_log_prob), want[found.token], rtol=1e-5
  )
  if name in ("plain", "cool"):
    np.testing.assert_array_equal(found.log_prob, found.raw_log_prob)
  else:
    # Renormalised, so what was kept is likelier by the mass that was cut.
    assert (found.log_prob > found.raw_log_prob).all()


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_come_as_often_as_their_log_probs_say(name):
  want = expected(SETTINGS[name])
  counts = np.bincount(drawn(name).token, minlength=len(PROBS))
  live = want > 0
  assert counts[~live].sum() == 0
  chi2 = ((counts - NUM * want)[live] ** 2 / (NUM * want[live])).sum()
  # 1 in 10,000 for each number of degrees of freedom; the keys are fixed.
  bound = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5}[int(live.sum()) - 1]
  assert chi2 < bound


def test_greedy_takes_the_likeliest_and_is_certain_of_it():
  logits = jnp.asarray(np.stack([LOGITS, LOGITS[::-1]]))
  keys = jax.random.split(jax.random.key(0))
  found = sampling.draw(
    logits, keys, jnp.zeros(2, jnp.int32), sampling.Sampling(temperature=0.0)
  )
  assert found.token.tolist() == [1, 3]
  assert found.log_prob.tolist() == [0, 0]
  np.testing.assert_allclose(np.exp(found.raw_log_prob), 0.4, rtol=1e-6)


@jax.jit
def draw_rows(prompt, sample, position):
  """Tokens of rows from 50 equally likely ones."""
  keys = sampling.row_keys(jax.random.key(3), prompt, sample)
  flat = jnp.zeros((prompt.shape[0], 50))
  return sampling.draw(flat, keys, position, sampling.Sampling()).token


def test_a_draw_depends_on_prompt_sample_and_position_alone():
  rng = np.random.default_rng(0)
  prompt, sample, position = (rng.integers(0, 9, 16) for _ in range(3))
  want = np.asarray(draw_rows(prompt, sample, position))
  order = rng.permutation(16)
  shuffled = draw_rows(prompt[order], sample[order], position[order])
  np.testing.assert_array_equal(shuffled, want[order])
  fewer = draw_rows(prompt[:5], sample[:5], position[:5])
  np.testing.assert_array_equal(fewer, want[:5])


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_another_prompt_sample_or_position_is_another_draw(moved):
  which = [np.full(16, 4), np.full(16, 4), np.full(16, 4)]
  which[moved] = np.arange(16)
  assert len(set(np.asarray(draw_rows(*which)).tolist())) > 8


def test_prompt_and_sample_are_not_interchangeable():
  one, two = np.full(16, 1), np.full(16, 2)
  position = np.arange(16)
  first, second = draw_rows(one, two, position), draw_rows(two, one, position)
  assert (np.asarray(first) != np.asarray(second)).mean() > 0.5


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"temperature": -0.1}, "temperature=-0.1: must be 0 or more"),
    ({"temperature": float("nan")}, "temperature=nan"),
    ({"top_k": -1}, "top_k=-1"),
    ({"top_p": 0.0}, r"top_p=0.0: must be in \(0, 1\]"),
    ({"top_p": 1.5}, "top_p=1.5"),
    ({"min_p": -0.1}, "min_p=-0.1"),
    ({"min_p": 1.1}, r"min_p=1.1: must be in \[0, 1\]"),
  ],
)
def test_impossible_settings_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    sampling.Sampling(**fields)
