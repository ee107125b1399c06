"""Masks for `Recipe.keep`: which of the chosen tokens are learnt from."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlx import batch
from rlx.credit import estimator, kernels, tokens, trees

Keep = Callable[
  [batch.Rollout, batch.Steps, Float[Array, "B L"]], Bool[Array, "B L"]
]


def uncertain(threshold: float) -> Keep:
  """Tokens to which the sampler gave a probability below `threshold`."""

  def keep(rollout, steps, advantages):
    del steps, advantages
    return jnp.exp(rollout.raw_log_probs) < threshold

  return keep


def credited(by: estimator.Estimator | None = None) -> Keep:
  """Tokens whose advantage is not 0: the others are in no denominator.

  Args:
    by: an estimator of steps, without a state, whose advantages decide instead
      of those that are used.
  """

  def keep(rollout, steps, advantages):
    if by is not None:
      signal, _ = estimator.advantages(by, by.init(), steps)
      advantages = tokens.spread(signal, rollout.segment)
    return advantages != 0

  return keep


def outside_depths(
  *, width: int, first: int, every: int, last: int = 0
) -> Keep:
  """Steps outside of a window of depths that slides towards the root.

  The window is of `width` depths, and begins with depth `first`. Every `every`
  updates it moves up by one, until it begins with `last`. Time is told by the
  newest version that wrote a token of the batch.

  Raises:
    ValueError: the window is negative, or its times or places are.
  """
  if width < 0 or every < 1 or not 0 <= last <= first:
    raise ValueError(
      f"width={width}, every={every}, first={first}, last={last}: there must "
      "be width >= 0, every >= 1 and first >= last >= 0"
    )

  def keep(rollout, steps, advantages):
    del advantages
    now = jnp.max(jnp.where(rollout.mask, rollout.version, 0))
    low = jnp.maximum(first - now // every, last)
    gone = (steps.depth >= low) & (steps.depth < low + width)
    return _spread(~gone, rollout)

  return keep


def some_leaves(which: Literal["best", "extremes"], ratio: float = 0.5) -> Keep:
  """A part of the leaves, and all inner steps.

  "best": of the leaves below one last split, the `ratio` with the largest
  outcomes, at least one. "extremes": of the leaves of a tree, the `ratio` with
  the largest and smallest outcomes, half of them each, at least one of each.
  Between equal outcomes the earlier row is better.

  Raises:
    ValueError: ratio is not between 0 and 1.
  """
  if not 0 < ratio <= 1:
    raise ValueError(f"ratio={ratio} is not in (0, 1]")
  by = trees.SIBLINGS if which == "best" else ("prompt", "tree")

  def keep(rollout, steps, advantages):
    del advantages
    leaf = trees.leaves(steps)
    columns = [getattr(steps, name) for name in by]
    key = kernels.group_ids(*columns, live=leaf)
    count = kernels.keyed_sum(leaf.astype(jnp.float32), key)
    rank = _rank(-steps.outcome, key)
    if which == "best":
      chosen = rank < jnp.maximum(jnp.ceil(ratio * count), 1)
    else:
      half = jnp.maximum(jnp.floor(ratio * count / 2), 1)
      chosen = (rank < half) | (rank >= count - half)
    return _spread(~leaf | chosen, rollout)

  return keep


def both(*keeps: Keep) -> Keep:
  """Tokens that all of the masks keep."""

  def keep(rollout, steps, advantages):
    kept = [k(rollout, steps, advantages) for k in keeps]
    return jnp.stack(kept).all(0)

  return keep


def _rank(x, key):
  """Place of each row among those of its key, from 0 for the smallest."""
  size = x.shape[0]
  order = jnp.lexsort((x, key))
  place = jnp.zeros(size, jnp.int32).at[order].set(jnp.arange(size))
  return place - jax.ops.segment_min(place, key, size + 1)[key]


def _spread(kept, rollout):
  return tokens.spread(kept.astype(jnp.float32), rollout.segment) > 0
