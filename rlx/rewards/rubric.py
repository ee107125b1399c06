"""Rubrics in the style of `verifiers`: weighted functions of one completion."""

import asyncio
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlx.rewards import calls


@dataclasses.dataclass(frozen=True)
class Rubric:
  """A reward function from functions of a single completion.

      sum over functions that do not abstain of weight * function(...)

  As in `verifiers`, each is called by keyword with what it names of `prompt`,
  `completion`, `answer`, `info`, `task`, `state` (a mapping of all these),
  `parser`, and the data set's other columns; it may be async, and they run at
  once. What the data has no column for is "" (`answer`, `task`) or {} (`info`).
  None abstains; where all do, so does the rubric. NaN, and what is no number,
  is an error. The mean of each is logged under its name.
  """

  funcs: tuple[Callable[..., Any], ...] | list
  """Functions; those with weight 0 are only logged."""
  weights: tuple[float, ...] | list | None = None
  """One each; 1 unless given."""
  parser: Any = None
  """Given to functions that name it."""

  def __post_init__(self):
    object.__setattr__(self, "funcs", tuple(self.funcs))
    if self.weights is not None:
      object.__setattr__(self, "weights", tuple(map(float, self.weights)))
    num = len(self.funcs)
    if not num or len(self.weights or self.funcs) != num:
      raise ValueError(
        f"a rubric of {num} functions and weights {self.weights}: one weight"
        " each, and at least one function"
      )

  async def __call__(
    self,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
  ) -> list[float | None]:
    """The rewards of a batch; see the class.

    Raises:
      ValueError: a function needs what there is not, or returned no number.
    """
    samples = [
      self._sample(i, prompt, completion, columns)
      for i, (prompt, completion) in enumerate(
        zip(prompts, completions, strict=True)
      )
    ]
    table = await asyncio.gather(*map(self._scores, samples))
    if log_metric is not None:
      self._log(table, log_metric)
    return [self._total(row) for row in table]

  def _sample(self, index, prompt, completion, columns) -> dict[str, Any]:
    own = {
      name: values[index]
      for name, values in columns.items()
      if isinstance(values, list)
    }
    sample = {"answer": "", "info": {}, "task": ""} | own
    sample |= {"prompt": prompt, "completion": completion}
    return sample | {"state": dict(sample), "parser": self.parser}

  async def _scores(self, sample: Mapping[str, Any]) -> list[float | None]:
    return list(await asyncio.gather(*(_score(f, sample) for f in self.funcs)))

  def _total(self, row: Sequence[float | None]) -> float | None:
    weights = self.weights or (1.0,) * len(row)
    said = [w * x for w, x in zip(weights, row, strict=True) if x is not None]
    return math.fsum(said) if said else None

  def _log(self, table, log_metric: Callable[[str, float], None]) -> None:
    for function, values in zip(
      self.funcs, zip(*table, strict=True), strict=True
    ):
      said = [x for x in values if x is not None]
      if said:
        log_metric(calls.name_of(function), math.fsum(said) / len(said))


async def _score(
  function: Callable[..., Any], sample: Mapping[str, Any]
) -> float | None:
  """One function's score of one sample. Raises ValueError."""
  name = calls.name_of(function)
  missing = sorted(calls.required(function) - set(sample))
  if missing:
    known = sorted(sample)
    raise ValueError(f"{name} needs {missing}, but a sample has {known}")
  value = function(**calls.accepted(function, sample))
  if inspect.isawaitable(value):
    value = await value
  if value is None:
    return None
  if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
    raise ValueError(f"{name} returned {str(value)[:60]!r}, which is no number")
  if not math.isfinite(float(value)):
    raise ValueError(f"{name} returned {float(value)}; to abstain, return None")
  return float(value)
