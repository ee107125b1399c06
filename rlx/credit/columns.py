"""Links that read evidence columns: where they are paid, and as factors."""

import jax.numpy as jnp

from rlx.credit import estimator


def at_step_end(name: str) -> estimator.Estimator:
  """A column of the step on the last token chosen in that step, else 0.

  Whatever the signal. It is for tables of tokens, in which every token has the
  columns of its step; in a table of turns every row is such an end.
  """

  def f(_, steps):
    end = steps.extras.get("step_end", jnp.ones_like(steps.weight))
    return jnp.where(end > 0, estimator.column(steps, name), 0.0)

  return estimator.stateless(f)


def times(name: str) -> estimator.Estimator:
  """The signal times a column of the table."""
  return estimator.stateless(lambda x, steps: x * estimator.column(steps, name))
