"""Between the step table and the tokens it was made of."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx import batch
from rlx.credit import kernels


def spread(
  x: Float[Array, " S"], segment: Int[Array, "B L"]
) -> Float[Array, "B L"]:
  """The number of each token's step; 0 where the segment is -1."""
  return jnp.where(segment >= 0, x[jnp.maximum(segment, 0)], 0.0)


def token_table(
  rollout: batch.Rollout,
  steps: batch.Steps,
  *,
  values: Float[Array, "B L"] | None = None,
  log_probs: Float[Array, "B L"] | None = None,
  ref_log_probs: Float[Array, "B L"] | None = None,
  kl_in_reward: float = 0.0,
) -> batch.Steps:
  """A step table with one row per token position, flattened from [B L].

  For methods whose step is a token. A row is live where the policy chose the
  token and the token's step is live. It has its step's columns, except that
    reward    is the step's on the last token chosen in that step, else 0, and
              less kl_in_reward * (log_probs - ref_log_probs) on each token;
    index     counts the chosen tokens of the trajectory;
    continues is 1 where the trajectory has a later chosen token;
    parent    is the row of the chosen token before;
    vote      is 1 / number of chosen tokens of the trajectory;
    value     is that of `values`, 0 without.
  The extra "step_end" is 1 on the last token chosen in each step, where other
  columns of the step can be paid: `credit.at_step_end`.
  A trajectory may span several sequences if these stand together, in order.
  A step in which nothing was chosen has no row, and its reward is not paid.

  Args:
    values: estimated return before each token.
    log_probs: of the trainer, for the penalty; `rollout.raw_log_probs` unless
      given.
    ref_log_probs: of the frozen reference. Needed for the penalty.
    kl_in_reward: coefficient of the penalty per token.

  Raises:
    ValueError: a penalty is asked for without a reference.
  """
  if kl_in_reward and ref_log_probs is None:
    raise ValueError(
      f"kl_in_reward={kl_in_reward} needs ref_log_probs, which are missing"
    )
  row = jnp.maximum(rollout.segment, 0).reshape(-1)
  turn = jax.tree.map(lambda x: x[row], steps)
  in_step = (rollout.segment >= 0).reshape(-1) & (turn.weight > 0)
  live = rollout.mask.reshape(-1) & in_step
  before, after = _neighbours(live)
  same = lambda column, other: (other >= 0) & (column[other] == column)
  continues = live & same(turn.trajectory, after)
  ends = live & ~(continues & same(row, after))
  reward = jnp.where(ends, turn.reward, 0.0)
  if kl_in_reward and ref_log_probs is not None:
    log_probs = rollout.raw_log_probs if log_probs is None else log_probs
    penalty = (log_probs - ref_log_probs).reshape(-1)
    reward = reward - kl_in_reward * penalty
  key = kernels.group_ids(turn.trajectory, live=live)
  weight = live.astype(turn.weight.dtype)
  length = jnp.maximum(kernels.keyed_sum(weight, key), 1.0)
  count = jnp.cumsum(live, dtype=jnp.int32) - 1
  first = jax.ops.segment_min(count, key, count.shape[0] + 1)[key]
  index = jnp.where(live, count - first, 0)
  value = jnp.zeros_like(weight) if values is None else values.reshape(-1)
  return dataclasses.replace(
    turn,
    index=index,
    depth=index,
    parent=jnp.where(live & same(turn.trajectory, before), before, -1),
    reward=jnp.where(live, reward, 0.0),
    value=jnp.where(live, value, 0.0),
    continues=continues.astype(weight.dtype),
    vote=jnp.where(live, 1.0 / length, 0.0),
    weight=weight,
    extras=turn.extras | {"step_end": ends.astype(weight.dtype)},
  )


def _neighbours(
  live: Bool[Array, " N"],
) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
  """Positions of the live rows before and after each row; -1 for none."""
  size = live.shape[0]
  here = jnp.arange(size, dtype=jnp.int32)
  before = jax.lax.cummax(jnp.where(live, here, -1))
  after = jax.lax.cummin(jnp.where(live, here, size), reverse=True)
  before = jnp.concatenate([jnp.full(1, -1, jnp.int32), before[:-1]])
  after = jnp.concatenate([after[1:], jnp.full(1, size, jnp.int32)])
  return before, jnp.where(after < size, after, -1)
