"""The links: evidence, propagation and normalisation of step-level credit.

A factory is named by its effect; `chain` and `add` compose what it returns:

    episode = chain(outcome(), standardise(by=("prompt",), vote="vote"))
    step = chain(returns(0.95), standardise(by=("prompt", "state")))
    gigpo = add(episode, scale(step, 1.0))
"""

import functools
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp

from rlx.credit import chains, estimator, groups, kernels


def outcome() -> estimator.Estimator:
  """The trajectory's total on each of its rows, whatever the signal."""
  return evidence("outcome")


def rewards() -> estimator.Estimator:
  """The reward paid for each step, whatever the signal."""
  return evidence("reward")


def evidence(name: str) -> estimator.Estimator:
  """A column of the table, whatever the signal: a field or an extra."""
  return estimator.stateless(
    lambda signal, steps: estimator.column(steps, name).astype(signal.dtype)
  )


def returns(discount: float = 1.0) -> estimator.Estimator:
  """The discounted sum of the signal from each row to its trajectory's end.

      y[t] = x[t] + discount * y[t + 1]

  The discount is per step. A padding row costs none and its reward is ignored.
  """
  _check_fraction("discount", discount)

  def f(signal, steps):
    return kernels.propagate(signal, chains.continuation(steps, discount))

  return estimator.stateless(f)


def gae(
  discount: float = 1.0, lambda_: float = 1.0, bootstrap: str | None = None
) -> estimator.Estimator:
  """Generalised advantages of the signal as rewards, with `steps.value`.

      delta[t] = x[t] + discount * V[t + 1] - V[t]
      A[t] = delta[t] + discount * lambda_ * A[t + 1]

  The next row is the next one that is not padding: V and A pass through
  padding rows unchanged. Past a trajectory's last row V is 0, or the entry of
  that row in the column `bootstrap`, which a truncated episode needs.

  Source: Schulman et al. 2016, arXiv:1506.02438, Eq. 16; the carry
  over observation tokens is verl's.
  """
  _check_fraction("discount", discount)
  _check_fraction("lambda_", lambda_)

  return estimator.stateless(
    functools.partial(
      _gae, discount=discount, lambda_=lambda_, bootstrap=bootstrap
    )
  )


def lambda_returns(
  discount: float = 1.0, lambda_: float = 1.0, bootstrap: str | None = None
) -> estimator.Estimator:
  """Targets of a value function: the advantages of `gae` plus the values."""
  _check_fraction("discount", discount)
  _check_fraction("lambda_", lambda_)
  return estimator.stateless(
    lambda signal, steps: (
      steps.value + _gae(signal, steps, discount, lambda_, bootstrap)
    )
  )


def _gae(signal, steps, discount, lambda_, bootstrap):
  value = steps.value
  past_end = jnp.zeros_like(value)
  if bootstrap is not None:
    past_end = estimator.column(steps, bootstrap).astype(value.dtype)
  next_value = jnp.where(
    steps.continues > 0, chains.following(value, steps), past_end
  )
  # On padding both are 0, but what is carried to it is not.
  delta = signal + discount * next_value - value
  delta = jnp.where(steps.weight > 0, delta, 0.0)
  return kernels.propagate(
    delta, chains.continuation(steps, discount * lambda_)
  )


def standardise(
  by: Sequence[groups.By] = (),
  center: Literal["mean", "loo"] | None = "mean",
  scale: Literal["std"] | None = "std",
  vote: groups.Vote = None,
  ddof: float = 1.0,
  eps: float = 1e-6,
  lone: Literal["zero", "raw"] = "zero",
) -> estimator.Estimator:
  """The signal relative to the group of rows that agree in the columns `by`.

      n = sum v,  mu = sum v x / n,  var = sum v (x - mu)^2 / (n - ddof)
      "mean": x - mu      "loo": (x - mu) n / (n - 1) = x - mean of the others
      "std": divided by sqrt(var) + eps

  A group of equal numbers gets 0 (equal to one part in a million: float32
  leaves a residue that eps would not hide). So does a group of one, unless it
  is neither centred nor scaled.

  Args:
    by: columns of the table, or functions that make one, such as
      `history.before`; empty means the whole batch.
    vote: column of the weights v, or a function of the table. None: every row
      has one vote. "vote": every trajectory has one, shared by its rows, so
      that long ones do not count more. `ddof`, `"loo"` and `lone` read n as a
      number of units.
    lone: what a group of one gets, "zero" or its "raw" signal.
  """
  _check_choice("center", center, ("mean", "loo", None))
  _check_choice("scale", scale, ("std", None))
  _check_choice("lone", lone, ("zero", "raw"))

  def f(signal, steps):
    return groups.relative(
      signal,
      groups.key(steps, by),
      groups.votes(steps, vote),
      center=center,
      scale=scale,
      ddof=ddof,
      eps=eps,
      lone=lone,
    )

  return estimator.stateless(f)


def whiten(
  by: Sequence[groups.By] = (), ddof: float = 1.0, eps: float = 1e-8
) -> estimator.Estimator:
  """The signal to mean 0 and variance 1, by default over the whole batch.

      (x - mu) / sqrt(var + eps)

  As `standardise`, but the stabiliser stands inside of the root; this is the
  form that PPO and REINFORCE++ use over tokens.
  """

  def f(signal, steps):
    key = groups.key(steps, by)
    group = groups.moments(signal, key, groups.votes(steps), ddof)
    out = group.centred / jnp.sqrt(group.std**2 + eps)
    return jnp.where(group.flat | group.lone, 0.0, out)

  return estimator.stateless(f)


def merge(
  by: Sequence[groups.By], vote: groups.Vote = None
) -> estimator.Estimator:
  """The mean of the signal over rows that agree in the columns `by`."""

  def f(signal, steps):
    key = groups.key(steps, by)
    return kernels.keyed_mean(signal, key, groups.votes(steps, vote))

  return estimator.stateless(f)


def clip(limit: float) -> estimator.Estimator:
  """The signal limited to [-limit, limit]."""
  return estimator.stateless(lambda x, _: jnp.clip(x, -limit, limit))


def _check_fraction(name: str, value: float) -> None:
  if not 0.0 <= value <= 1.0:
    raise ValueError(f"{name}={value} is not between 0 and 1")


def _check_choice(name: str, value, valid) -> None:
  if value not in valid:
    raise ValueError(f"{name}={value!r} is none of {valid}")
