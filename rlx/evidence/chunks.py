"""The rows of a batch through a model, some at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx import batch, policy
from rlx.evidence import provider


def chosen(rollout: batch.Rollout, steps: batch.Steps) -> Bool[Array, "B L"]:
  """Whether the policy chose the token, in a step that is not padding."""
  live = steps.weight[jnp.maximum(rollout.segment, 0)] > 0
  return rollout.mask & (rollout.segment >= 0) & live


def split(context: provider.Context, tree: Any) -> Any:
  """[B L ...] leaves as [chunks, B / chunks, L ...].

  As few chunks as have `microbatch_tokens` each, and divide the rows. A chunk
  has every n-th row, so that rows split over devices stay where they are.
  """
  rows, length = jax.tree.leaves(tree)[0].shape[:2]
  tokens = context.microbatch_tokens or rows * length
  least = max(min(-(-rows * length // tokens), rows), 1)
  num = next(n for n in range(least, rows + 1) if rows % n == 0)
  apart = lambda x: x.reshape(-1, num, *x.shape[1:])
  return jax.tree.map(lambda x: jnp.moveaxis(apart(x), 1, 0), tree)


def join(tree: Any) -> Any:
  """What `split` took apart; leaves may have other axes behind the rows."""
  back = lambda x: jnp.moveaxis(x, 0, 1)
  return jax.tree.map(lambda x: back(x).reshape(-1, *x.shape[2:]), tree)


def features(
  model: policy.Policy,
  params: Any,
  tokens: Int[Array, "B L"],
  valid: Bool[Array, "B L"],
) -> Float[Array, "B L D"]:
  """The final features of whole sequences."""
  index = jnp.arange(tokens.shape[1], dtype=jnp.int32)
  positions = jnp.broadcast_to(index, tokens.shape)
  return model.apply(params, tokens, positions, valid.astype(jnp.int32))
