"""History match: groups of rows that also agree in the steps before them.

A key over shifted columns, and nothing else. The steps before a row are those
of its trajectory; padding between them is not counted.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx import batch
from rlx.credit import chains, estimator, groups

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
    raise ValueError(f"back={back} is negative")

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
  weighs more. All keys come from one sort.

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
    columns = [estimator.column(steps, x) for x in (*by, name)]
    columns += [x(steps) for x in steps_before((name,), history)]
    keys = nested_ids(columns, live)[len(by) :]
    total = norm = jnp.zeros_like(signal)
    for k, key in enumerate(keys, 1):
      began = chains.earlier(steps, k - 1) >= 0
      a = _relative(signal, key, vote, scale, ddof)
      w = jnp.where(began & (jnp.abs(a) > groups.FLAT), (k + 1.0) ** power, 0.0)
      total, norm = total + w * a, norm + w
    return total / (norm + 1e-6)

  return estimator.stateless(f)


def _relative(x, key, vote, scale, ddof) -> Float[Array, " S"]:
  return groups.relative(
    x, key, vote, scale="std" if scale else None, ddof=ddof
  )


def nested_ids(
  columns: Sequence[Int[Array, " S"]], live: Bool[Array, " S"]
) -> list[Int[Array, " S"]]:
  """`kernels.group_ids` of the first column, the first two, .. all of them.

  One sort serves them all: in the order of all columns, rows that agree in the
  first few stand together.
  """
  size = live.shape[0]
  order = jnp.lexsort(columns[::-1])
  changes = jnp.zeros(size, bool)
  ids = []
  for column in columns:
    ordered = column[order]
    changes = changes.at[1:].max(ordered[1:] != ordered[:-1])
    ranks = jnp.cumsum(changes, dtype=jnp.int32)
    dense = jnp.zeros(size, jnp.int32).at[order].set(ranks)
    ids.append(jnp.where(live, dense, size))
  return ids


def _check(history: int) -> None:
  if history < 0:
    raise ValueError(f"history={history} is negative")
