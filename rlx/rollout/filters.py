"""The verb `filter`: which groups, or edges, are worth learning from.

Each function returns bool, true for what is kept. Prompts that are solved too
often to teach more are `evidence.steering.solved`.
"""

import numpy as np
from jaxtyping import Bool, Float

from rlx.rollout import edits, played, record, summary


def alive(found: played.Played, group_size: int) -> Bool[np.ndarray, " P"]:
  """Groups whose outcomes differ: the others teach nothing (DAPO)."""
  return ~summary.dead_groups(found, group_size)


def spread(
  values: Float[np.ndarray, "P N"],
  threshold: float,
  live: Bool[np.ndarray, "P N"] | None = None,
) -> Bool[np.ndarray, " P"]:
  """Groups with a population standard deviation above `threshold`, or of one.

  Args:
    values: of each member, as the return from its first step (UI-S1).
    live: members that count; all unless given.

  Source: UI-S1, arXiv:2509.11543, code of the filter.
  """
  counted = np.ones(values.shape, bool) if live is None else live
  size = counted.sum(1)
  safe = np.maximum(size, 1)
  mean = np.where(counted, values, 0).sum(1) / safe
  rest = np.where(counted, values - mean[:, None], 0)
  return (np.sqrt((rest**2).sum(1) / safe) > threshold) | (size == 1)


def band(
  accuracy: Float[np.ndarray, " P"], low: float = 0.0, high: float = 1.0
) -> Bool[np.ndarray, " P"]:
  """Prompts with low < accuracy < high, both excluded.

  PaCoRe keeps 0 < accuracy of the messages < 9/24 (code: 15/24), and then
  0 < accuracy of the synthesis < 1.
  """
  if not low < high:
    raise ValueError(f"low={low} is not below high={high}: nothing is kept")
  return (accuracy > low) & (accuracy < high)


def edges(
  advantages: Float[np.ndarray, " E"], tolerance: float = 1e-6
) -> Bool[np.ndarray, " E"]:
  """Edges of a tree with another advantage than 0 (SPO-tree).

  A subtree of equal leaves has none, which is dynamic sampling by itself.
  """
  return np.abs(advantages) > tolerance


def leave(
  log: record.Record, keep: Bool[np.ndarray, " P"], group_size: int
) -> record.Record:
  """Returns a copy in which groups that are not kept have no loss.

  They stay in the step table and in every statistic.
  """
  out = edits.copy(log)
  out.mask &= np.repeat(keep, group_size)[:, None]
  return out
