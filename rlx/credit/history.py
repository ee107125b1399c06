"""History match: groups of rows that also agree in the steps before them.

A key over shifted columns, and nothing else. The steps before a row are those
of its trajectory; padding between them is not counted.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlx import batch
from rlx.credit import chains, estimator, groups, kernels

# Stands for what was before the first step. No hash is this low.
NOTHING = int(jnp.iinfo(jnp.int32).min)


def before(
  name: str, back: int = 1
) -> Callable[[batch.Steps], Int[Array, " S"]]:
  """The integer column `name` as it was `back` steps before: a key for `by`.

  `NOTHING` where the trajectory had not begun, which thus is a group of its
  own. before(name, 0) is the column itself.

  Raises:
    ValueError: `back` is negative.
  """
  if back < 0:
    raise ValueError(f"back={back}: must be 0 or more")

  def f(steps):
    row = chains.earlier(steps, back)
    column = estimator.column(steps, name)
    return jnp.where(row >= 0, column[jnp.maximum(row, 0)], NOTHING)

  return f


def steps_before(names: Sequence[str], history: int) -> tuple[groups.By, ...]:
  """Keys that say all of `names` in each of the `history` steps before.

  Raises:
    ValueError: `history` is negative.
  """
  _check(history)
  return tuple(
    before(name, back) for back in range(1, history + 1) for name in names
  )


def over_histories(
  by: Sequence[str] = ("prompt",),
  name: str = "state",
  history: int = 2,
  power: float = 1.0,
  scale: bool = True,
  ddof: float = 0.0,
) -> estimator.Estimator:
  """The signal relative to rows of equal histories, averaged over their length.

      A_k = standardise(x, by=(*by, name, name before, .. k - 1 steps before))
      A = sum_k w_k A_k / (sum_k w_k + 1e-6),   w_k = (k + 1)^power

  for k = 1 .. history + 1, over those k for which the row has k - 1 steps
  before it, and peers that make A_k other than 0. A longer match is rarer, and
  weighs more. Each key refines the one before.

  Args:
    by: columns that always have to agree.
    name: the column whose history it is.
    history: of the longest match, in steps; 0 leaves only A_1.
    ddof: 0 for the deviation of a population.

  Raises:
    ValueError: `history` is negative.
  """
  _check(history)

  def f(signal, steps):
    live, vote = steps.weight > 0, groups.votes(steps)
    key = groups.key(steps, by)
    key = jnp.where(live, 0, live.shape[0]) if key is None else key
    total = norm = jnp.zeros_like(signal)
    for k in range(1, history + 2):
      began = chains.earlier(steps, k - 1) >= 0
      key = kernels.group_ids(key, before(name, k - 1)(steps), live=live)
      a = _relative(signal, key, vote, scale, ddof)
      w = jnp.where(began & (jnp.abs(a) > groups.FLAT), (k + 1.0) ** power, 0.0)
      total, norm = total + w * a, norm + w
    return total / (norm + 1e-6)

  return estimator.stateless(f)


def _relative(x, key, vote, scale, ddof) -> Float[Array, " S"]:
  return groups.relative(
    x, key, vote, scale="std" if scale else None, ddof=ddof
  )


def _check(history: int) -> None:
  if history < 0:
    raise ValueError(f"history={history}: must be 0 or more")
