"""Links that read evidence columns: where they are paid, and as a bonus."""

import jax
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


def bonus(name: str, kappa: float, last: bool = False) -> estimator.Estimator:
  """The signal plus a column that is positive, within bounds of the signal.

      x + min(max(column, 0), |x| / kappa)

  No sign flips for kappa >= 1, and where x is 0 there is no bonus.

  Args:
    kappa: inf for no bonus.
    last: only on the last row of each trajectory.

  Source: Huang et al. 2025 (VERL), arXiv:2509.23808.
  """
  if not kappa > 0:
    raise ValueError(f"kappa={kappa}: must be above 0")

  def f(x, steps):
    column = jax.nn.relu(estimator.column(steps, name))
    more = jnp.minimum(column, jnp.abs(x) / kappa)
    return x + jnp.where((steps.continues > 0) & last, 0.0, more)

  return estimator.stateless(f)
