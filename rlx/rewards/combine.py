"""Reward functions in, numbers per completion and per step out.

A reward function has TRL's shape, so that one written for TRL runs here:

    def reward(prompts, completions, completion_ids, **columns)
        -> list[float | None]

called by keyword with what it accepts, once a batch. None abstains. It may be
`async`. Two more arguments are given to functions that name them:
`log_metric(name, value)` and `log_extra(column, values)`. A function may also
return a list of numbers for each completion: the reward of each of its steps.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rlx.rewards import calls, results

RewardFunction = Callable[..., Any]


class Scores(NamedTuple):
  """Axes: `F` functions, `N` completions.

  Attributes:
    names: of the functions, made unique.
    values: as returned, unweighted; NaN where a function abstained, the sum of
      its steps where it gave those.
    outcome: weighted sum over the functions that score whole completions.
    steps: for each completion, the weighted sum of each step's rewards; empty
      where no function gave any.
    total: `outcome` plus the sum of `steps`.
    metrics: what functions logged, as `rewards/{function}/{name}`.
    extra: columns that functions logged.
  """

  names: tuple[str, ...]
  values: Float[np.ndarray, "F N"]
  outcome: Float[np.ndarray, " N"]
  steps: list[list[float]]
  total: Float[np.ndarray, " N"]
  metrics: dict[str, float]
  extra: dict[str, list[Any]]


def score(
  functions: Sequence[RewardFunction],
  weights: Sequence[float | int] | None,
  prompts: Sequence[Any],
  completions: Sequence[Any],
  completion_ids: Sequence[Sequence[int]],
  columns: Mapping[str, Sequence[Any]],
  num_steps: Sequence[int] | None = None,
) -> Scores:
  """The rewards of a batch of completions by several functions.

      total = sum over functions that did not abstain of weight * reward

  Args:
    functions: see the module.
    weights: one each; 1 if None.
    prompts: texts or lists of messages. Where a prompt is messages its
      completion is given as one assistant's message, as TRL does.
    completions: their texts; what is a list of messages already, as that of an
      agent's turns, is given as it is.
    completion_ids: their tokens.
    columns: further columns of the data set by name, one entry a completion.
    num_steps: how many steps each completion has, to check per-step rewards.

  Raises:
    ValueError: numbers of functions and weights, or lengths, differ.
    results.RewardError: a function raised, or returned something else than a finite
      number or None for each completion; or all abstained on one. It names the
      function, the sample and its prompt.
  """
  weights = [1.0] * len(functions) if weights is None else list(weights)
  if not functions or len(weights) != len(functions):
    raise ValueError(
      f"{len(functions)} reward functions but {len(weights)} weights: one each,"
      " and at least one"
    )
  batch = _batch(prompts, completions, completion_ids, columns)
  check(functions, list(columns))
  names = _names(functions)
  metrics: dict[str, float] = {}
  extra: dict[str, list[Any]] = {}
  arguments = [
    calls.accepted(f, {**batch, **_loggers(name, metrics, extra)})
    for f, name in zip(functions, names, strict=True)
  ]
  returned = _call(functions, names, arguments, prompts)
  read = [
    results.read(name, result, prompts, num_steps)
    for name, result in zip(names, returned, strict=True)
  ]
  values = np.array([r.values for r in read], np.float64)
  _check_some_spoke(names, values, prompts)
  scored = [(w, r) for w, r in zip(weights, read, strict=True)]
  outcome, steps = _outcome(scored, len(prompts)), _steps(scored, prompts)
  total = outcome + np.array([sum(row) for row in steps], np.float64)
  return Scores(names, values, outcome, steps, total, metrics, extra)


def check(functions: Sequence[RewardFunction], columns: Sequence[str]) -> None:
  """Refuses functions that need a column that there is not.

  `score` does so too; this needs no completions, so that it can be done before
  anything compiles.

  Raises:
    ValueError: naming the function, the columns it lacks and those present; or
      columns whose names are taken.
  """
  _refuse_reserved(columns)
  known = {*calls.GIVEN, *columns}
  for function, name in zip(functions, _names(functions), strict=True):
    missing = sorted(calls.required(function) - known)
    if missing:
      raise ValueError(
        f"reward function {name!r} needs the columns {missing}, but the data"
        f" set has {sorted(columns)}"
      )


def _refuse_reserved(columns: Iterable[str]) -> None:
  reserved = sorted(set(columns) & set(calls.GIVEN))
  if reserved:
    raise ValueError(f"the data set may not have columns named {reserved}")


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
  """The columns of rows, without `prompt`; None where a row has no entry."""
  names = dict.fromkeys(name for row in rows for name in row)
  return {
    name: [row.get(name) for row in rows] for name in names if name != "prompt"
  }


def summary(scores: Scores) -> dict[str, float]:
  """TRL's metrics: `reward`, `reward_std`, `rewards/{function}/mean|std`.

  Means are over completions, functions without those on which they abstained.
  """
  found = {
    "reward": float(scores.total.mean()),
    "reward_std": float(scores.total.std()),
  }
  for name, values in zip(scores.names, scores.values, strict=True):
    given = values[~np.isnan(values)]
    if given.size:
      found[f"rewards/{name}/mean"] = float(given.mean())
      found[f"rewards/{name}/std"] = float(given.std())
  return found | scores.metrics


def _batch(prompts, completions, completion_ids, columns) -> dict[str, Any]:
  sizes = {"completions": completions, "completion_ids": completion_ids}
  for name, values in {**sizes, **columns}.items():
    if len(values) != len(prompts):
      raise ValueError(f"{len(values)} {name} for {len(prompts)} prompts")
  _refuse_reserved(columns)
  texts = [
    text
    if isinstance(prompt, str) or not isinstance(text, str)
    else [{"role": "assistant", "content": text}]
    for prompt, text in zip(prompts, completions, strict=True)
  ]
  ids = [list(tokens) for tokens in completion_ids]
  given = {
    "prompts": list(prompts),
    "completions": texts,
    "completion_ids": ids,
  }
  return given | {name: list(values) for name, values in columns.items()}


def _names(functions: Sequence[RewardFunction]) -> tuple[str, ...]:
  names: list[str] = []
  for function in functions:
    name = calls.name_of(function)
    repeats = sum(n.split("#")[0] == name for n in names)
    names.append(f"{name}#{repeats + 1}" if repeats else name)
  return tuple(names)


def _loggers(name: str, metrics: dict[str, float], extra: dict[str, list[Any]]):
  def log_metric(key: str, value: float | int) -> None:
    metrics[f"rewards/{name}/{key}"] = float(value)

  def log_extra(column: str, values: Sequence[Any]) -> None:
    extra[column] = list(values)

  return {"log_metric": log_metric, "log_extra": log_extra}


def _call(functions, names, arguments, prompts) -> list[Any]:
  """What each function returned; asks again one by one if it raised."""
  returned = calls.call_all(functions, arguments)
  for function, name, given, result in zip(
    functions, names, arguments, returned, strict=True
  ):
    if isinstance(result, calls.Raised):
      index = calls.first_to_raise(function, given, len(prompts))
      where = (
        f"on the batch of {len(prompts)}, though on none of its samples alone"
        if index is None
        else results.where(index, prompts)
      )
      raise results.RewardError(
        f"reward function {name!r} raised {type(result.error).__name__}:"
        f" {result.error} {where}"
      ) from result.error
  return returned


def _check_some_spoke(names, values, prompts) -> None:
  silent = np.flatnonzero(np.isnan(values).all(axis=0))
  if silent.size:
    raise results.RewardError(
      f"every reward function ({', '.join(names)}) abstained"
      f" {results.where(int(silent[0]), prompts)}"
      f" ({silent.size} of {len(prompts)} samples in all)"
    )


def _outcome(scored, size: int) -> np.ndarray:
  outcome = np.zeros(size)
  for weight, result in scored:
    if result.steps is None:
      outcome += weight * np.nan_to_num(np.array(result.values, np.float64))
  return outcome


def _steps(scored, prompts: Sequence[Any]) -> list[list[float]]:
  steps: list[list[float]] = [[] for _ in prompts]
  for weight, result in scored:
    for i, given in enumerate(result.steps or ()):
      if given and steps[i] and len(given) != len(steps[i]):
        raise results.RewardError(
          f"two reward functions returned {len(steps[i])} and {len(given)}"
          f" per-step rewards {results.where(i, prompts)}"
        )
      before = steps[i] or [0.0] * len(given)
      if given:
        steps[i] = [x + weight * y for x, y in zip(before, given, strict=True)]
  return steps
