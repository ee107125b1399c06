"""How long an execution holds: accuracies, horizons and their intervals."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Right:
  """Whether a turn was right, in the senses of `Accuracies`."""

  turn: bool
  index: bool
  prefix: bool


@dataclasses.dataclass(frozen=True)
class Sums:
  """Where an execution stands.

  Attributes:
    said: the model's own last sum.
    true: the true one.
    held: whether all sums so far were right.
  """

  said: int = 0
  true: int = 0
  held: bool = True

  def add(self, value: int, prediction: int | None) -> "tuple[Sums, Right]":
    """Returns where it stands after a turn, and whether that was right.

    Args:
      value: what is added.
      prediction: the sum as the model said it, or None where it said none: that
        is wrong for `index`, and for `turn` it stands for the sum said last.
    """
    said = self.said if prediction is None else prediction
    true = self.true + value
    index = prediction == true
    now = Sums(said, true, self.held and index)
    return now, Right(said - self.said == value, index, now.held)


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
    predictions: the sum after each turn, see `Sums.add`.

  Source: Sinha et al. 2025, arXiv:2509.09677, section 2, and its code.

  Raises:
    ValueError: there are more predictions than values.
  """
  if len(predictions) > len(values):
    raise ValueError(
      f"{len(predictions)} predictions of {len(values)} values: one each, at most"
    )
  found = Accuracies([], [], [])
  sums = Sums()
  for value, prediction in zip(values, predictions, strict=False):
    sums, right = sums.add(value, prediction)
    found.turn.append(right.turn)
    found.index.append(right.index)
    found.prefix.append(right.prefix)
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
