"""What a reward function returned, checked entry by entry."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class RewardError(RuntimeError):
  """A reward function failed: which, and on which sample."""


class Result(NamedTuple):
  """The rewards of one function.

  Attributes:
    values: of each completion, NaN where the function abstained.
    steps: of the steps of each, or None if whole completions were scored.
  """

  values: list[float]
  steps: list[list[float]] | None


def where(index: int, prompts: Sequence[Any]) -> str:
  """Says in an error which sample it was."""
  prompt = prompts[index]
  text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
  text = text if len(text) <= 80 else text[:76] + " ..."
  return f"on sample {index} (prompt {text!r})"


def read(
  name: str,
  result: Any,
  prompts: Sequence[Any],
  num_steps: Sequence[int] | None = None,
) -> Result:
  """The return value of the function `name`.

  Raises:
    RewardError: it is not one finite number, None or list of finite numbers
      for each prompt.
  """
  is_list = isinstance(result, Sequence) or _is_list(result)
  if not is_list or isinstance(result, (str, bytes)):
    raise RewardError(
      f"reward function {name!r} returned a {type(result).__name__}, not a list"
      f" of {len(prompts)} numbers or None"
    )
  if len(result) != len(prompts):
    raise RewardError(
      f"reward function {name!r} returned {len(result)} rewards for"
      f" {len(prompts)} completions"
    )
  if any(map(_is_list, result)):
    return _read_steps(name, result, prompts, num_steps)
  values = [_number(name, x, i, prompts) for i, x in enumerate(result)]
  return Result(values, None)


def _is_list(x: Any) -> bool:
  return isinstance(x, (list, tuple)) or (
    hasattr(x, "__array__") and np.ndim(x) > 0
  )


def _read_steps(name, result, prompts, num_steps) -> Result:
  values, steps = [], []
  for i, entry in enumerate(result):
    if entry is None:
      values.append(math.nan)
      steps.append([])
      continue
    if not _is_list(entry):
      raise RewardError(
        f"reward function {name!r} returned {entry!r} beside lists of per-step"
        f" rewards {where(i, prompts)}"
      )
    if num_steps is not None and len(entry) != num_steps[i]:
      raise RewardError(
        f"reward function {name!r} returned {len(entry)} per-step rewards for"
        f" {num_steps[i]} steps {where(i, prompts)}"
      )
    row = [_number(name, x, i, prompts) for x in entry]
    steps.append([0.0 if math.isnan(x) else x for x in row])
    values.append(sum(steps[-1]))
  return Result(values, steps)


def _number(name: str, x: Any, index: int, prompts: Sequence[Any]) -> float:
  """A finite float, or NaN for None."""
  if x is None:
    return math.nan
  is_text = isinstance(x, (str, bytes, Mapping))
  if is_text or not hasattr(x, "__float__") or np.ndim(x):
    raise RewardError(
      f"reward function {name!r} returned {str(x)[:60]!r}"
      f" ({type(x).__name__}), not a number or None, {where(index, prompts)}"
    )
  value = float(x)
  if not math.isfinite(value):
    raise RewardError(
      f"reward function {name!r} returned {value} {where(index, prompts)};"
      " to abstain, return None"
    )
  return value
