"""Estimator: a pair of pure functions that turns rewards into advantages."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from rlx import batch

Signal = Float[Array, " S"]
State = Any  # A pytree of arrays; () where there is none.


class Estimator(NamedTuple):
  """One link of credit assignment, or a composition of links.

  Attributes:
    init: `() -> state`, a pytree of arrays, often `()`.
    update: `(signal[S], state, steps) -> (signal[S], state)`. The first link of
      a recipe is given `steps.reward`. Rows of weight 0 are inert in value and
      gradient wherever they stand, whatever they hold, and come out as 0.
  """

  init: Callable[[], State]
  update: Callable[[Signal, State, batch.Steps], tuple[Signal, State]]


def stateless(f: Callable[[Signal, batch.Steps], Signal]) -> Estimator:
  """An estimator without state from a function of signal and steps.

  `f` sees zeros in the signal and in every float column of a padding row, so it
  need not mask its input, and what it returns there is replaced by zero.
  """

  def update(signal, state, steps):
    live = steps.weight > 0
    out = f(jnp.where(live, signal, 0.0), silence(steps))
    return jnp.where(live, out, 0.0), state

  return Estimator(init=lambda: (), update=update)


def silence(steps: batch.Steps) -> batch.Steps:
  """The table with zeros in every float column of its padding rows."""
  live = steps.weight > 0
  zero = lambda x: (
    jnp.where(live, x, jnp.zeros_like(x))
    if jnp.issubdtype(x.dtype, jnp.floating)
    else x
  )
  return jax.tree.map(zero, steps)


def chain(*estimators: Estimator) -> Estimator:
  """Each estimator applied to what the one before it returned."""

  def update(signal, state, steps):
    states = []
    for estimator, old in zip(estimators, state, strict=True):
      signal, new = estimator.update(signal, old, steps)
      states.append(new)
    return signal, tuple(states)

  return Estimator(lambda: tuple(e.init() for e in estimators), update)


def add(*estimators: Estimator) -> Estimator:
  """The sum of estimators that are all given the same signal."""

  def update(signal, state, steps):
    pairs = [
      estimator.update(signal, old, steps)
      for estimator, old in zip(estimators, state, strict=True)
    ]
    total = sum((out for out, _ in pairs), jnp.zeros_like(signal))
    return total, tuple(new for _, new in pairs)

  return Estimator(lambda: tuple(e.init() for e in estimators), update)


def scale(estimator: Estimator, factor: float) -> Estimator:
  """An estimator times a constant."""

  def update(signal, state, steps):
    signal, state = estimator.update(signal, state, steps)
    return factor * signal, state

  return Estimator(estimator.init, update)


def advantages(
  estimator: Estimator, state: State, steps: batch.Steps
) -> tuple[Signal, State]:
  """The advantage of each step, a constant for differentiation, and the state.

  This is the front door of the room: the first link sees `steps.reward`.
  """
  signal, state = estimator.update(steps.reward, state, steps)
  return jax.lax.stop_gradient((signal, state))


def column(steps: batch.Steps, name: str) -> Num[Array, " S"]:
  """The column called `name`, a field of `Steps` or one of its extras.

  Raises:
    ValueError: there is no such column; those present are listed.
  """
  fields = [name for name in batch.Steps.__annotations__ if name != "extras"]
  if name in fields:
    return getattr(steps, name)
  if name in steps.extras:
    return steps.extras[name]
  present = ", ".join([*fields, *sorted(steps.extras)])
  raise ValueError(f"no column {name!r} in the step table; it has: {present}")
