"""How a batch is cut into micro-batches: rows as they are, or packs."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rlx import batch, microbatches, policy
from rlx.packing import arrays, shapes, split


class Views(NamedTuple):
  """See `make`.

  Attributes:
    split: `(rollout, chosen[B]) -> [(arrays, shape)]`: micro-batches of the
      rows that are chosen and have a token that is.
    blanks: one of each shape there is, the likeliest last.
  """

  split: Callable[[batch.Rollout, np.ndarray], list[tuple[Any, Any]]]
  blanks: list[tuple[Any, Any]]


def plain(length: int, rows: int, tokens: int, parts: int, more: bool) -> Views:
  """Rows as they are, those of like length together; see `microbatches`.

  Args:
    more: whether a row is one longer, so that there is a value behind it.
  """
  known = microbatches.sizes(length, rows, tokens, parts)

  def cut(rollout, chosen):
    lengths = np.asarray(rollout.valid).sum(1)
    lengths = np.minimum(lengths + more, length)
    taken = np.asarray(rollout.mask).any(1) & chosen
    micro = microbatches.split(np.where(taken, lengths, 0), known)
    return [(each.rows, each.length) for each in micro]

  blanks = [
    (np.full(num, rows, np.int32), padded)
    for padded, num in zip(known.lengths, known.rows, strict=True)
  ]
  return Views(cut, blanks)


def packed(
  length: int,
  rows: int,
  tokens: int,
  parts: int,
  *,
  model: policy.Policy,
  params: Any,
  **hints: int,
) -> Views:
  """Packs, in which what rows share is there once.

  Args:
    params: of the policy, arrays or shapes.
    hints: see `shapes.make`.
  """
  one = jax.ShapeDtypeStruct((1, 1), np.int32)
  hidden = jax.eval_shape(model.apply, params, one, one, one)
  width = hidden.shape[-1]
  known = shapes.make(length, rows, tokens, parts, width=width, **hints)

  def cut(rollout, chosen):
    mask = np.asarray(rollout.mask) & chosen[:, None]
    return split.split(np.asarray(rollout.tokens), mask, known)

  blanks = [(arrays.blank(shape, rows, length), shape) for shape in known.all]
  return Views(cut, blanks)


def packs(model: policy.Policy) -> bool:
  """Whether a policy's `apply` takes packs: it has `last` and `layout`."""
  return {"last", "layout"} <= {*inspect.signature(model.apply).parameters}


def columns(view: Any, shape: Any) -> int:
  """Returns how many tokens of a micro-batch go through the model."""
  if isinstance(shape, int):
    return len(view) * shape
  return shape.packs * shape.columns
