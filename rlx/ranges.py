"""Ranges of hyper-parameters: what is out of them is refused by name.

Each function takes the arguments of a method by their names, so that an error
says which one it was. None, which is no number, is in every range.
"""

import math
from collections.abc import Callable

Number = float | int | None


def finite(**numbers: Number) -> None:
  """Refuses what is NaN or infinite.

  Raises:
    ValueError: naming the argument, its value and what would be valid.
  """
  _check(numbers, math.isfinite, "a finite number")


def at_least(least: float | int, **numbers: Number) -> None:
  """Refuses what is below `least`, or not finite.

  Raises:
    ValueError: naming the argument, its value and what would be valid.
  """
  _check(numbers, lambda x: math.isfinite(x) and x >= least, f"{least} or more")


def above(bound: float | int, **numbers: Number) -> None:
  """Refuses what is not above `bound`, or not finite.

  Raises:
    ValueError: naming the argument, its value and what would be valid.
  """
  _check(numbers, lambda x: math.isfinite(x) and x > bound, f"above {bound}")


def between(low: float | int, high: float | int, **numbers: Number) -> None:
  """Refuses what is not in [low, high].

  Raises:
    ValueError: naming the argument, its value and what would be valid.
  """
  _check(numbers, lambda x: low <= x <= high, f"between {low} and {high}")


def _check(
  numbers: dict[str, Number],
  valid: Callable[[float | int], bool],
  range_: str,
) -> None:
  for name, number in numbers.items():
    if number is not None and not valid(number):
      raise ValueError(f"{name}={number}: must be {range_}")
