"""Monte-Carlo values: what is to be expected from the middle of trajectories."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import played
from rlx.rollout import verbs as rollout_verbs

UNFINISHED = ("max_tokens", "cut")


class Values(NamedTuple):
  """Of boundaries, in order.

  Attributes:
    mean: float64 [N], outcome of the continuations; NaN where none was played.
    number: int [N], continuations whose mean it is.
    deviation: float64 [N], population's standard deviation of the outcomes.
    seconds: what it took, as in `Played`.
  """

  mean: np.ndarray
  number: np.ndarray
  deviation: np.ndarray
  seconds: Mapping[str, float]


def values(
  do: rollout_verbs.Verbs,
  before: played.Played,
  boundaries: Sequence[rollout_verbs.Cut],
  n: int,
  *,
  max_tokens: int | None = None,
  seed: int = 0,
) -> Values:
  """Returns the mean outcome of `n` continuations of each boundary.

  All of them are drawn by one call of `continue_from`, which looks at what
  boundaries have in common once. An outcome is what is paid from the boundary
  on, and of a completion all that it is paid; one that was not finished counts
  0. Environments that fail count in neither `mean` nor `number`.

  Args:
    max_tokens: of a continuation of a completion; None for as many as fit.
    seed: tells draws from one place apart.
  """
  if not boundaries:
    none = np.zeros(0)
    return Values(none, none.astype(int), none, {})
  single = do.shape.turns == 1
  found = do.continue_from(
    before,
    boundaries,
    n,
    max_tokens=max_tokens if single else None,
    seed=seed,
    keep=False,
  )
  outcome = found.record.outcome().astype(np.float64)
  if single:
    outcome = np.where(np.isin(found.stop, UNFINISHED), 0.0, outcome)
  exists = (found.record.turns > 0).reshape(-1, n)
  outcome = np.where(exists, outcome.reshape(-1, n), 0.0)
  count = exists.sum(1)
  share = 1 / np.maximum(count, 1)
  mean = outcome.sum(1) * share
  apart = np.where(exists, outcome - mean[:, None], 0.0)
  deviation = np.sqrt((apart**2).sum(1) * share)
  known = lambda x: np.where(count > 0, x, np.nan)
  return Values(known(mean), count, known(deviation), dict(found.seconds))
