"""Which tokens are kept where sampler and trainer disagree."""

import jax.numpy as jnp
import numpy as np
import pytest

from rlx.objective import filters, ratios

X = jnp.array(
  [[1.002, 0.999, 1.0, 1.0], [2.5, 0.4, 1.0, 1.0], [1.1, 1.0, 1.0, 1.0]]
)
ALL = jnp.ones(X.shape, bool)


def test_the_worked_bands():
  geometric = jnp.exp(ratios.pool_mean(jnp.log(X), ALL))
  want = np.array([1.000249, 1.0, 1.024114])
  np.testing.assert_allclose(geometric[:, 0], want, atol=2e-5)
  kept = filters.bands(jnp.log(X), jnp.zeros(X.shape), ALL)
  want = [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
  np.testing.assert_array_equal(kept, np.array(want, bool))


def test_a_band_of_tokens_and_one_of_sequences_are_set_apart():
  f = lambda **kwargs: filters.bands(
    jnp.log(X), jnp.zeros(X.shape), ALL, **kwargs
  )
  wide = (0.0, 1e9)
  np.testing.assert_array_equal(f(token=wide, sequence=wide), ALL)
  np.testing.assert_array_equal(f(token=wide)[:, 0], [True, True, False])
  np.testing.assert_array_equal(f(sequence=wide)[:, 0], [True, False, True])


# Log-ratios 0, log 2 - a bit, -1.5: k2 0, 0.23, 1.125; k3 0, 0.29, 0.72.
@pytest.mark.parametrize(
  "estimator, bound, want",
  [
    ("k1", 2.0, [1, 1, 0]),
    ("k1", 1.5, [1, 0, 0]),
    ("k1", 5.0, [1, 1, 1]),
    ("k2", 1.0, [1, 1, 0]),
    ("k2", 0.2, [1, 0, 0]),
    ("k3", 0.8, [1, 1, 1]),
    ("k3", 0.5, [1, 1, 0]),
  ],
)
def test_an_estimate_out_of_bounds_rejects_its_token(estimator, bound, want):
  d = jnp.array([[0.0, 0.68, -1.5]])
  mask = jnp.ones(d.shape, bool)
  got = filters.accepted(d, 0 * d, mask, estimator=estimator, bound=bound)
  np.testing.assert_array_equal(got, np.array([want], bool))


@pytest.mark.parametrize(
  "estimator, want",
  # Means of the log-ratio 0.05 and 0.6, of k2 0.81 and 0.18, of k3 0.91, 0.22.
  [("k1", [True, False]), ("k2", [False, True]), ("k3", [False, True])],
)
def test_a_sequence_is_accepted_or_rejected_as_one(estimator, want):
  d = jnp.array([[1.3, -1.2, 9.0], [0.6, 0.6, -9.0]])
  mask = jnp.array([[True, True, False], [True, True, False]])
  bound = 1.5 if estimator == "k1" else 0.5
  got = filters.accepted(
    d, 0 * d, mask, estimator=estimator, bound=bound, level="sequence"
  )
  np.testing.assert_array_equal(got, mask & np.array(want)[:, None])


@pytest.mark.parametrize("junk", [jnp.nan, jnp.inf, -jnp.inf, 1e30])
def test_what_the_policy_did_not_choose_decides_nothing(junk):
  mask = jnp.array([[1, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]], bool)
  fill = lambda x: jnp.where(mask, jnp.log(X), x)
  for f in (filters.bands, filters.accepted):
    want = f(fill(0.0), jnp.zeros(X.shape), mask)
    got = f(fill(junk), jnp.where(mask, 0.0, junk), mask)
    np.testing.assert_array_equal(got, want)
    assert not got[~mask].any()


def test_a_band_that_leaves_out_the_ratio_1_is_refused():
  x = jnp.log(X)
  with pytest.raises(
    ValueError, match=r"token band \(1.5, 2.0\) does not hold"
  ):
    filters.bands(x, x, ALL, token=(1.5, 2.0))
