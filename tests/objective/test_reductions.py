"""The four reductions as weights, importance weights, the value loss."""

from typing import get_args

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.objective import importance, reductions, values

settings = hypothesis.settings(max_examples=20, deadline=None)
ALL = get_args(reductions.Reduction)
LOSS = jnp.array([[1.0, 1, 0, 0], [2, 2, 2, 2]])
MASK = jnp.array([[True, True, False, False], [True, True, True, True]])


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


def reduce(loss, mask, reduction, **kwargs):
  return jnp.sum(reductions.weights(mask, reduction, **kwargs) * loss)


@pytest.mark.parametrize(
  "reduction, length, want",
  [
    ("token-mean", None, 1.666667),
    ("seq-mean-token-sum", None, 5.0),
    ("seq-mean-token-mean", None, 1.5),
    ("seq-mean-token-sum-norm", 2, 2.5),
    ("seq-mean-token-sum-norm", 4, 1.25),
    ("sequence-mean-token-sum", None, 5.0),
    ("sequence-mean-token-mean", None, 1.5),
    ("sequence-mean-token-sum-norm", 4, 1.25),
    ("token-sum-norm", 4, 1.25),
  ],
)
def test_the_worked_numbers_under_either_spelling(reduction, length, want):
  check(reduce(LOSS, MASK, reduction, length=length), want)


def test_lengths_1_and_100_weigh_as_each_reduction_promises():
  mask = jnp.arange(100)[None] < jnp.array([[1], [100]])
  first = lambda name: reductions.weights(mask, name, length=50)[:, 0]
  check(first("token-mean"), [1 / 101, 1 / 101], 1e-7)
  check(first("seq-mean-token-mean"), [1 / 2, 1 / 200], 1e-7)
  check(first("seq-mean-token-sum"), [1 / 2, 1 / 2], 1e-7)
  check(first("seq-mean-token-sum-norm"), [1 / 100, 1 / 100], 1e-7)


everything = jax.jit(
  lambda mask: [reductions.weights(mask, name, length=7) for name in ALL]
)


@settings
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_padding_to_twice_the_size_changes_nothing(seed):
  rng = np.random.default_rng(seed)
  mask = rng.random((3, 5)) < rng.random()
  padded = np.pad(mask, ((0, 3), (0, 5)))
  for got, want in zip(everything(padded), everything(mask), strict=True):
    np.testing.assert_array_equal(got[:3, :5], want)
    np.testing.assert_array_equal(got != 0, padded)


@settings
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_parts_of_a_batch_add_up_to_the_whole(seed):
  rng = np.random.default_rng(seed)
  mask = rng.random((3, 5)) < 0.5
  loss = rng.normal(size=(3, 5))
  tokens = mask.sum(-1)
  live = max((tokens > 0).sum(), 1)
  total = (loss * mask).sum(-1)
  want = {
    "token-mean": total.sum() / max(tokens.sum(), 1),
    "seq-mean-token-mean": (total / np.maximum(tokens, 1)).sum() / live,
    "seq-mean-token-sum": total.sum() / live,
    "seq-mean-token-sum-norm": total.sum() / live / 7,
  }
  for name, weights in zip(ALL, everything(mask), strict=True):
    parts = [np.sum(np.asarray(weights)[i] * loss[i]) for i in range(3)]
    check(sum(parts), want[reductions.canonical(name)], 1e-5)


@settings
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_for_equal_lengths_the_two_means_agree(seed, length):
  """Whichever tokens they are (L21)."""
  rng = np.random.default_rng(seed)
  mask = rng.permuted(np.tile(np.arange(5) < length, (3, 1)), axis=1)
  got = dict(zip(ALL, everything(mask), strict=True))
  check(got["token-mean"], got["seq-mean-token-mean"], 1e-7)


@pytest.mark.parametrize("reduction", ALL)
def test_a_trajectory_split_into_rows_weighs_as_one_sequence(reduction):
  whole = jnp.array([[1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]], bool)
  split = jnp.array([[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
  got = reductions.weights(
    split, reduction, length=9, sequence=jnp.array([70, 70, 4, 4])
  )
  want = reductions.weights(whole, reduction, length=9)
  check(got[:2].reshape(-1), want[0])
  check(got[2], want[1][:3])
  check(got[3], [0, 0, 0])


@pytest.mark.parametrize("reduction", ALL)
def test_an_empty_mask_weighs_nothing(reduction):
  got = reductions.weights(jnp.zeros((2, 3), bool), reduction, length=4)
  np.testing.assert_array_equal(got, jnp.zeros((2, 3)))


def test_an_unknown_reduction_is_refused_and_the_known_ones_are_listed():
  with pytest.raises(ValueError, match=r"'mean' is none of token-mean"):
    reductions.canonical("mean")


@pytest.mark.parametrize("length", [None, 0])
def test_the_constant_must_be_given(length):
  with pytest.raises(ValueError, match=f"needs a length, not {length}"):
    reductions.weights(MASK, "token-sum-norm", length=length)


def test_importance_weights_are_truncated_per_token_or_per_sequence():
  d = jnp.array([[0.0, 1.0, -1.0, 3.0, jnp.nan], [-1.0, -1, 0, 0, 0]])
  mask = jnp.array([[1, 1, 1, 1, 0], [1, 1, 0, 1, 1]], bool)
  token = importance.truncated(d, jnp.zeros((2, 5)), mask, cap=2.0)
  check(token[0], [1, 2, 0.367879, 2, 0])
  whole = importance.truncated(
    d, jnp.zeros((2, 5)), mask, cap=2.0, level="sequence"
  )
  e = np.exp(-2)
  check(whole, [[2, 2, 2, 2, 0], [e, e, 0, e, e]])


def test_the_value_loss_takes_the_worse_of_clipped_and_not():
  one = jnp.ones((1, 1), bool)
  array = lambda x: jnp.full((1, 1), x)
  args = (array(0.9), array(0.2), array(1.0), one)
  check(values.value_loss(*args), [[0.045]])
  check(values.value_loss(*args, clip=None), [[0.005]])
