"""The links: evidence, propagation and normalisation of step-level credit.

A factory is named by its effect; `chain` and `add` compose what it returns:

    episode = chain(outcome(), standardise(by=("prompt",), vote="vote"))
    step = chain(returns(0.95), standardise(by=("prompt", "state")))
    gigpo = add(episode, scale(step, 1.0))
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx import batch
from rlx.credit import estimator, kernels

# A group whose spread is below this fraction of its mean is one of equal
# numbers: what is left is the rounding of float32.
FLAT = 1e-6


def outcome() -> estimator.Estimator:
  """The trajectory's total on each of its rows, whatever the signal."""
  return evidence("outcome")


def rewards() -> estimator.Estimator:
  """The reward paid for each step, whatever the signal."""
  return evidence("reward")


def evidence(name: str) -> estimator.Estimator:
  """A column of the table, whatever the signal: a field or an extra."""
  return estimator.stateless(
    lambda _, steps: estimator.column(steps, name).astype(jnp.float32)
  )


def returns(discount: float = 1.0) -> estimator.Estimator:
  """The discounted sum of the signal from each row to its trajectory's end.

      y[t] = x[t] + discount * y[t + 1]

  The discount is per step. A padding row costs none and its reward is ignored.
  """
  _check_fraction("discount", discount)

  def f(signal, steps):
    return kernels.propagate(signal, _continuation(steps, discount))

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
  next_value = jnp.where(steps.continues > 0, _next(value, steps), past_end)
  # On padding both are 0, but what is carried to it is not.
  delta = signal + discount * next_value - value
  delta = jnp.where(steps.weight > 0, delta, 0.0)
  return kernels.propagate(delta, _continuation(steps, discount * lambda_))


def standardise(
  by: Sequence[str] = (),
  center: Literal["mean", "loo"] | None = "mean",
  scale: Literal["std"] | None = "std",
  vote: str | None = None,
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
    by: columns of the table; empty means the whole batch.
    vote: column of the weights v. None: every row has one vote. "vote": every
      trajectory has one, shared by its rows, so that long ones do not count
      more. `ddof`, `"loo"` and `lone` read n as a number of units.
    lone: what a group of one gets, "zero" or its "raw" signal.
  """
  _check_choice("center", center, ("mean", "loo", None))
  _check_choice("scale", scale, ("std", None))
  _check_choice("lone", lone, ("zero", "raw"))

  def f(signal, steps):
    key = _key(steps, by)
    group = _moments(signal, key, _votes(steps, vote), ddof)
    out = signal if center is None else group.centred
    if center == "loo":
      out = out * group.votes / jnp.where(group.lone, 1.0, group.votes - 1)
    if scale is not None:
      out = out / (group.std + eps)
    if center is None and scale is None:
      return signal
    out = jnp.where(group.flat, 0.0, out)
    return jnp.where(group.lone, signal if lone == "raw" else 0.0, out)

  return estimator.stateless(f)


def whiten(
  by: Sequence[str] = (), ddof: float = 1.0, eps: float = 1e-8
) -> estimator.Estimator:
  """The signal to mean 0 and variance 1, by default over the whole batch.

      (x - mu) / sqrt(var + eps)

  As `standardise`, but the stabiliser stands inside of the root; this is the
  form that PPO and REINFORCE++ use over tokens.
  """

  def f(signal, steps):
    group = _moments(signal, _key(steps, by), _votes(steps, None), ddof)
    out = group.centred / jnp.sqrt(group.std**2 + eps)
    return jnp.where(group.flat | group.lone, 0.0, out)

  return estimator.stateless(f)


def merge(by: Sequence[str], vote: str | None = None) -> estimator.Estimator:
  """The mean of the signal over rows that agree in the columns `by`."""

  def f(signal, steps):
    return kernels.keyed_mean(signal, _key(steps, by), _votes(steps, vote))

  return estimator.stateless(f)


def clip(limit: float) -> estimator.Estimator:
  """The signal limited to [-limit, limit]."""
  return estimator.stateless(lambda x, _: jnp.clip(x, -limit, limit))


class _Moments(NamedTuple):
  """Statistics of each row's group."""

  votes: Float[Array, " S"]
  centred: Float[Array, " S"]  # x - mean.
  std: Float[Array, " S"]  # 1 in a group of one.
  lone: Bool[Array, " S"]  # One vote or less.
  flat: Bool[Array, " S"]  # All numbers are equal.


def _moments(x, key, vote, ddof):
  """Two passes; the second also takes up what rounding left in the first."""
  votes = kernels.keyed_sum(vote, key)
  lone = votes < 1.5
  safe = jnp.where(lone, 1.0, votes)
  mean = kernels.keyed_sum(vote * x, key) / safe
  rest = x - mean
  centred = rest - kernels.keyed_sum(vote * rest, key) / safe
  freedom = jnp.where(lone, 1.0, jnp.maximum(votes - ddof, 1e-9))
  var = kernels.keyed_sum(vote * centred**2, key) / freedom
  # A root has no gradient at 0: look at it only where it is not 0.
  spread = (var > 0) & ~lone
  std = jnp.where(spread, jnp.sqrt(jnp.where(spread, var, 1.0)), 0.0)
  flat = std <= FLAT * jnp.abs(mean)
  return _Moments(votes, centred, jnp.where(lone, 1.0, std), lone, flat)


def _key(steps: batch.Steps, by: Sequence[str]) -> kernels.Key:
  if not by:
    return None
  columns = [estimator.column(steps, name) for name in by]
  return kernels.group_ids(*columns, live=steps.weight > 0)


def _votes(steps: batch.Steps, name: str | None) -> Float[Array, " S"]:
  """Votes of the rows, 0 in padding."""
  live = (steps.weight > 0).astype(jnp.float32)
  return live if name is None else live * estimator.column(steps, name)


def _continuation(steps: batch.Steps, factor: float) -> Float[Array, " S"]:
  """The coefficient c of `propagate`; 1 on padding, which is transparent."""
  c = jnp.where(steps.continues > 0, factor * steps.continues, 0.0)
  return jnp.where(steps.weight > 0, c, 1.0)


def _next(x: Float[Array, " S"], steps: batch.Steps) -> Float[Array, " S"]:
  """The entry of the next row that is not padding."""
  live = steps.weight > 0
  carried = kernels.propagate(
    jnp.where(live, x, 0.0), jnp.where(live, 0.0, 1.0)
  )
  return jnp.concatenate([carried[1:], jnp.zeros_like(carried[:1])])


def _check_fraction(name: str, value: float) -> None:
  if not 0.0 <= value <= 1.0:
    raise ValueError(f"{name}={value} is not between 0 and 1")


def _check_choice(name: str, value, valid) -> None:
  if value not in valid:
    raise ValueError(f"{name}={value!r} is none of {valid}")
