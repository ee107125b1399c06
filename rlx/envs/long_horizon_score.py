"""How long an execution holds: accuracies, horizons and their intervals."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass
class Accuracies:
  """For each turn, whether it was right.

  Attributes:
    turn: the step from the model's own sum before is the true one.
    index: the sum is the true one.
    prefix: it is, and so were all before it.
  """

  turn: list[bool]
  index: list[bool]
  prefix: list[bool]


def accuracies(
  values: Sequence[int], predictions: Sequence[int | None]
) -> Accuracies:
  """Returns what was right of running sums from 0.

  Args:
    values: what is added in each turn.
    predictions: the sum after each turn as the model said it, or None where it
      said none: that is wrong for `index`, and for `turn` it stands for the sum
      it said last.

  Source: Sinha et al. 2025, arXiv:2509.09677, section 2, and its code.

  Raises:
    ValueError: there are more predictions than values.
  """
  if len(predictions) > len(values):
    raise ValueError(
      f"{len(predictions)} predictions of {len(values)} values: one each, at most"
    )
  found = Accuracies([], [], [])
  true = said = 0
  for value, prediction in zip(values, predictions, strict=False):
    true += value
    now = said if prediction is None else prediction
    found.turn.append(now - said == value)
    found.index.append(prediction == true)
    found.prefix.append(found.index[-1] and all(found.prefix[-1:]))
    said = now
  return found


def horizon(accuracy: Sequence[float], success: float = 0.5) -> int | None:
  """Returns the first turn, from 1, with an accuracy below `success`, or None.

  H_s = min {t : prefix accuracy at t < s}
  """
  return next((t for t, x in enumerate(accuracy, 1) if x < success), None)


def expected_horizon(step: float, success: float = 0.5) -> float:
  """Returns ln(success) / ln(step): turns that a constant accuracy lasts.

  Infinite for a `step` of 1. The first turn below is the next whole number.

  Raises:
    ValueError: `step` is not in (0, 1], or `success` not in (0, 1).
  """
  if not 0 < step <= 1 or not 0 < success < 1:
    raise ValueError(
      f"step={step}, success={success}: must be in (0, 1] and in (0, 1)"
    )
  return math.inf if step == 1 else math.log(success) / math.log(step)


def interval(
  prefix: Float[np.ndarray, "N T"],
  success: float = 0.5,
  *,
  num: int = 1000,
  seed: int = 0,
) -> tuple[float, float]:
  """Returns the 95 % interval of the horizon of N episodes, by bootstrap.

  A horizon beyond the T turns counts as T + 1.

  Args:
    prefix: 1 where the turn and all before it were right.
    num: samples of episodes, with replacement.
    seed: of the samples.
  """
  rng = np.random.default_rng(seed)
  rows, turns = prefix.shape
  drawn = rng.integers(0, rows, (num, rows))
  below = prefix[drawn].mean(1) < success
  found = np.where(below.any(1), below.argmax(1) + 1, turns + 1)
  low, high = np.percentile(found, [2.5, 97.5])
  return float(low), float(high)
