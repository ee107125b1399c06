"""Credit as host code does it: dictionaries and loops over the steps.

This is how step-level methods are computed beside a GPU, by grouping rows in a
dictionary and walking each trajectory backwards. The formulas are those of the
recipes, with what these do about rounding left out.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from rlx import batch

Table = dict[str, np.ndarray]


def grpo(table: Table) -> np.ndarray:
  """Outcomes, relative to those of the prompt; one vote a trajectory."""
  scores: dict[int, dict[int, float]] = defaultdict(dict)
  for prompt, trajectory, outcome in _rows(
    table, "prompt", "trajectory", "outcome"
  ):
    scores[prompt][trajectory] = outcome
  moments = {
    prompt: _moments(list(found.values())) for prompt, found in scores.items()
  }
  pairs = _rows(table, "prompt", "outcome")
  return np.array([_relative(x, moments[prompt]) for prompt, x in pairs])


def reinforce(table: Table) -> np.ndarray:
  """What was earned from each step on."""
  reward = table["reward"].tolist()
  return _backwards(table, lambda row, later: reward[row] + later)


def gigpo(table: Table) -> np.ndarray:
  """`grpo`, and discounted returns relative to those from the same state."""
  reward = table["reward"].tolist()
  returns = _backwards(table, lambda row, later: reward[row] + 0.95 * later)
  return grpo(table) + _standardise(returns, _rows(table, "prompt", "state"))


def salt(table: Table) -> np.ndarray:
  """`grpo`, averaged over equal transitions."""
  keys = _rows(table, "prompt", "state", "action", "next_state")
  found, groups = grpo(table).tolist(), defaultdict(list)
  for key, x in zip(keys, found, strict=True):
    groups[key].append(x)
  means = {key: sum(group) / len(group) for key, group in groups.items()}
  return np.array([means[key] for key in keys])


def ppo(table: Table) -> np.ndarray:
  """Generalised advantages with a value function, whitened over the batch."""
  value, after = table["value"], np.append(table["value"][1:], 0.0)
  after = np.where(table["continues"] > 0, after, 0.0)
  delta = (table["reward"] + after - value).tolist()
  found = _backwards(table, lambda row, later: delta[row] + later)
  return (found - found.mean()) / np.sqrt(found.var(ddof=1) + 1e-8)


ALL: tuple[Callable[[Table], np.ndarray], ...] = (
  grpo,
  reinforce,
  gigpo,
  salt,
  ppo,
)


def columns(steps: batch.Steps) -> Table:
  """The table as NumPy's arrays."""
  names = [x for x in batch.Steps.__annotations__ if x != "extras"]
  return {name: np.asarray(getattr(steps, name)) for name in names}


def _rows(table: Table, *names: str) -> list[tuple]:
  return list(zip(*(table[name].tolist() for name in names), strict=True))


def _backwards(table: Table, step: Callable[[int, float], float]) -> np.ndarray:
  continues = table["continues"].tolist()
  out, later = [0.0] * len(continues), 0.0
  for row in range(len(out) - 1, -1, -1):
    later = step(row, later if continues[row] else 0.0)
    out[row] = later
  return np.array(out)


def _standardise(x: np.ndarray, keys: Sequence[Hashable]) -> np.ndarray:
  groups = defaultdict(list)
  values = x.tolist()
  for key, value in zip(keys, values, strict=True):
    groups[key].append(value)
  moments = {key: _moments(found) for key, found in groups.items()}
  return np.array(
    [
      _relative(value, moments[key])
      for key, value in zip(keys, values, strict=True)
    ]
  )


def _moments(values: Sequence[float]) -> tuple[float, float] | None:
  """Mean and standard deviation; None for a group of one."""
  if len(values) == 1:
    return None
  return float(np.mean(values)), float(np.std(values, ddof=1))


def _relative(x: float, moments: tuple[float, float] | None) -> float:
  return 0.0 if moments is None else (x - moments[0]) / (moments[1] + 1e-6)
