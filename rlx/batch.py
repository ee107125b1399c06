"""The two values that flow through rlx: `Rollout` (tokens) and `Steps`.

Axes, used in every annotation of the library:
  B  sequences of a batch       L  tokens of a sequence, padded
  S  rows of the step table     V  vocabulary         D  model width
  P  prompts                    G  completions of one prompt

A sequence is stored from the left: token `t` of a row stands at position `t`,
and padding follows. A mask has holes (observations, tool output), so the length
of a sequence is the number of `valid` tokens and never the sum of `mask`.
"""

from jaxtyping import Array, Bool, Float, Int

from rlx import pytree


@pytree.dataclass
class Rollout:
  """The tokens of a batch. They are the only record: text is derived."""

  tokens: Int[Array, "B L"]
  valid: Bool[Array, "B L"]  # Not padding.
  mask: Bool[Array, "B L"]  # The policy chose this token.
  # Log-probability in nats of each chosen token under exactly the distribution
  # that sampled it: temperature, and support renormalised by top-k, top-p, min-p.
  log_probs: Float[Array, "B L"]
  # The same with the temperature but over the whole vocabulary: what a trainer
  # can recompute. Equal to `log_probs` where no support was cut.
  raw_log_probs: Float[Array, "B L"]
  segment: Int[Array, "B L"]  # Row of the step table, -1 outside of any step.
  version: Int[Array, "B L"]  # Update count of the parameters that wrote it.


@pytree.dataclass
class Steps:
  """The step table: one row per step of the whole batch, padded.

  Rows of one trajectory are contiguous and in order of `index`, so that one
  scan serves every chain. A chain is a tree in which every node has one child.
  Padding rows have `weight` 0, and are inert wherever they stand.
  """

  prompt: Int[Array, " S"]  # Unique in the batch: the group.
  trajectory: Int[Array, " S"]  # Unique in the batch.
  index: Int[Array, " S"]  # Which step of its trajectory, from 0.
  parent: Int[Array, " S"]  # Row of the previous step, -1 at a root.
  depth: Int[Array, " S"]  # Distance from the root.
  tree: Int[Array, " S"]
  role: Int[Array, " S"]  # Which agent acted; 0 when there is one.
  state: Int[Array, " S"]  # Hash of the canonical observation acted on.
  action: Int[Array, " S"]  # Hash of the action.
  next_state: Int[Array, " S"]  # Hash of the observation that followed.
  reward: Float[Array, " S"]  # Paid for this step.
  outcome: Float[Array, " S"]  # The trajectory's total, on each of its rows.
  value: Float[Array, " S"]  # Estimated return before the step; 0 if unknown.
  continues: Float[Array, " S"]  # 1 if the next row is the same trajectory's.
  vote: Float[Array, " S"]  # 1 / number of steps of the trajectory.
  weight: Float[Array, " S"]  # 1 for a step, 0 for padding.
  extras: dict[str, Float[Array, " S"]]  # Named evidence columns.
