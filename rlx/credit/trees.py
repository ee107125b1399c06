"""Links on trees: from the leaves up, down to them, and between siblings.

A row without a parent is a child of its tree's root, which is no row: nobody
chose a prompt. So the samples of a prompt are siblings, and a tree whose root
does have a row is one in which that row is an only child. Siblings are the rows
that agree in `SIBLINGS`.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx import batch
from rlx.credit import estimator, gains, groups, kernels

SIBLINGS = ("prompt", "tree", "parent")
Vote = Literal["child", "leaf", "path"]


def fuse(
  *,
  max_depth: int,
  how: Literal["mean", "max"] = "mean",
  discount: float = 1.0,
  vote: Vote = "child",
) -> estimator.Estimator:
  """The signal of the leaves, taken up to every row above them.

      y(leaf) = x(leaf),  y(row) = discount * mean or max of y(child)

  What the signal holds on inner rows is not read.

  Args:
    max_depth: the deepest row, where one without a parent has depth 0.
    vote: what weighs in the mean. "child": every child equally. "leaf": every
      leaf below equally, so that the mean is over leaves. "path": a child's
      probability among its siblings, softmax(segment_log_prob).

  Raises:
    ValueError: max_depth is negative.
  """
  if max_depth < 0:
    raise ValueError(f"max_depth={max_depth}: must be 0 or more")

  def f(signal, steps):
    return kernels.fuse(
      signal,
      steps.parent,
      steps.depth,
      max_depth=max_depth,
      c=discount,
      how=how,
      vote=_votes(steps, vote, max_depth),
    )

  return estimator.stateless(f)


def difference(best_of: int = 1) -> estimator.Estimator:
  """What a row's signal is above that of its parent.

      y = b(x) - b(x(parent)),  b as in `gains.gain`

  The signal of the root, which is no row, is the mean of its children's; an
  only child of it gets 0.
  """

  def f(signal, steps):
    top = (steps.weight > 0) & (steps.parent < 0)
    key = kernels.group_ids(steps.prompt, steps.tree, live=top)
    root = kernels.keyed_mean(signal, key, top.astype(signal.dtype))
    above = signal[jnp.maximum(steps.parent, 0)]
    base = jnp.where(top, root, above)
    return gains.better(signal, best_of) - gains.better(base, best_of)

  return estimator.stateless(f)


def path_sum(*, max_depth: int) -> estimator.Estimator:
  """The sum of the signal over a row and all rows above it."""

  def f(signal, steps):
    child = (steps.weight > 0) & (steps.parent >= 0)
    above = jnp.maximum(steps.parent, 0)

    def level(y, depth):
      return jnp.where(child & (steps.depth == depth), signal + y[above], y), ()

    depths = jnp.arange(1, max_depth + 1, dtype=steps.depth.dtype)
    return jax.lax.scan(level, signal, depths)[0]

  return estimator.stateless(f)


def among_leaves(inner: estimator.Estimator) -> estimator.Estimator:
  """An estimator that is shown the leaves alone; all other rows get 0."""

  def update(signal, state, steps):
    weight = jnp.where(leaves(steps), steps.weight, 0.0)
    table = dataclasses.replace(steps, weight=weight.astype(steps.weight.dtype))
    return inner.update(signal, state, table)

  return estimator.Estimator(inner.init, update)


def leaves(steps: batch.Steps) -> Bool[Array, " S"]:
  """The rows that exist and that no row has as its parent."""
  size = steps.weight.shape[0]
  child = (steps.weight > 0) & (steps.parent >= 0)
  key = jnp.where(child, steps.parent, size)
  count = jax.ops.segment_sum(child.astype(jnp.int32), key, size + 1)
  return (steps.weight > 0) & (count[:size] == 0)


def _votes(steps, vote: Vote, max_depth: int) -> Float[Array, " S"]:
  one = groups.votes(steps)
  if vote == "child":
    return one
  if vote == "path":
    key = groups.key(steps, SIBLINGS)
    x = estimator.column(steps, "segment_log_prob").astype(one.dtype)
    return kernels.keyed_softmax(x, key, one)
  below = kernels.fuse(
    one,
    steps.parent,
    steps.depth,
    max_depth=max_depth,
    how="sum",
    vote=one,
  )
  return one * below
