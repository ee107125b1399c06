"""The score of a sub-goal: what the one who is given it does with it."""

from collections.abc import Sequence


def foresight(
  well_formed: bool,
  executed: Sequence[float | int] | float | int,
  judged: float | int,
  *,
  format_weight: float = 0.1,
  execution_weight: float = 0.6,
  judge_weight: float = 0.3,
) -> float:
  """format_weight [well formed] + execution_weight executed + ... judged.

  Args:
    executed: whether the low level did the right thing, given the sub-goal;
      the mean of several tries, of which one that fails says little.
    judged: a judge's opinion of the sub-goal, in [0, 1].

  Source: Hi-Agent 2025, arXiv:2510.14388. The formula is inferred from the
  abstract and the weights are ours. [abstract]
  """
  tries = [executed] if isinstance(executed, int | float) else list(executed)
  done = sum(tries) / max(len(tries), 1)
  return (
    format_weight * well_formed
    + execution_weight * done
    + judge_weight * judged
  )
