"""From losses per token to one number, as a weight per token.

The weights are computed once, over the whole batch, from the mask alone. The
loss of any part of the batch is then sum(weights * loss), so that micro-batches
and devices add exactly, and padding can be in no denominator.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx.credit import kernels

# verl's spelling of each, then Tunix's; "token-sum-norm" is Dr. GRPO's own.
Reduction = Literal[
  "token-mean",
  "seq-mean-token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-sum-norm",
  "sequence-mean-token-mean",
  "sequence-mean-token-sum",
  "sequence-mean-token-sum-norm",
  "token-sum-norm",
]


def canonical(reduction: str) -> str:
  """verl's spelling of a reduction.

  Raises:
    ValueError: it is none of `Reduction`.
  """
  if reduction not in get_args(Reduction):
    valid = ", ".join(get_args(Reduction))
    raise ValueError(f"reduction={reduction!r} is none of {valid}")
  if reduction == "token-sum-norm":
    return "seq-mean-token-sum-norm"
  return reduction.replace("sequence-mean", "seq-mean")


def weights(
  mask: Bool[Array, "B L"],
  reduction: Reduction,
  *,
  length: int | None = None,
  sequence: Int[Array, " B"] | None = None,
) -> Float[Array, "B L"]:
  """Weight of each token in the sum that is the loss; 0 where mask is False.

      token-mean               1 / tokens of the batch
      seq-mean-token-mean      1 / (tokens of its sequence * sequences)
      seq-mean-token-sum       1 / sequences
      seq-mean-token-sum-norm  1 / (length * sequences)

  Tokens are those with mask True, sequences those with any such token. An empty
  mask gives zeros.

  Args:
    length: the constant of the last one, as the longest answer allowed. It is
      not the padded width, which would make the loss depend on padding.
    sequence: rows with one id are one sequence, for trajectories that were
      split into a row per step. Each row is its own without.

  Raises:
    ValueError: the last one is asked for without a positive `length`.
  """
  name = canonical(reduction)
  row = jnp.sum(mask, axis=-1, dtype=float)
  if sequence is None:
    own = per_sequence = row
  else:
    ids = kernels.dense_ids(sequence)
    per_sequence = jax.ops.segment_sum(row, ids, row.shape[0])
    own = per_sequence[ids]
  num_sequences = jnp.maximum(jnp.sum(per_sequence > 0), 1).astype(row.dtype)
  if name == "token-mean":
    share = jnp.full_like(row, 1.0) / jnp.maximum(jnp.sum(row), 1.0)
  elif name == "seq-mean-token-mean":
    share = 1.0 / (jnp.maximum(own, 1.0) * num_sequences)
  elif name == "seq-mean-token-sum":
    share = jnp.full_like(row, 1.0) / num_sequences
  else:
    if length is None or length <= 0:
      raise ValueError(f"reduction {reduction!r} needs a length, not {length}")
    share = jnp.full_like(row, 1.0 / length) / num_sequences
  return jnp.where(mask, share[:, None], 0.0)
