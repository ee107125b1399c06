"""Products of estimators: gates that pass a signal only where another is."""

import functools
import operator

from rlx.credit import estimator


def multiply(*estimators: estimator.Estimator) -> estimator.Estimator:
  """The product of estimators that are all given the same signal."""

  def update(signal, state, steps):
    pairs = [
      e.update(signal, old, steps)
      for e, old in zip(estimators, state, strict=True)
    ]
    product = functools.reduce(operator.mul, (out for out, _ in pairs))
    return product, tuple(new for _, new in pairs)

  return estimator.Estimator(
    lambda: tuple(e.init() for e in estimators), update
  )


def above(threshold: float) -> estimator.Estimator:
  """1 where the signal is above a threshold, 0 elsewhere."""
  return estimator.stateless(lambda x, _: (x > threshold).astype(x.dtype))
