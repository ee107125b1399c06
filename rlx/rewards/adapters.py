"""Reward functions of other shapes as TRL-shaped ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlx.rewards import calls, math_answer


def from_verl(compute_score: Callable[..., Any]) -> Callable[..., Any]:
  """A reward function from verl's `compute_score`.

  It is called once a completion, as `compute_score(data_source=...,
  solution_str=..., ground_truth=..., extra_info=...)`, with verl's columns
  `data_source`, `reward_model["ground_truth"]` (or a column `ground_truth`) and
  `extra_info`. It returns a number, or a mapping whose "score" is the reward
  and whose other numbers are logged as means.
  """

  def reward(
    completions: Sequence[Any],
    data_source: Sequence[str],
    ground_truth: Sequence[Any] | None = None,
    reward_model: Sequence[Mapping[str, Any]] | None = None,
    extra_info: Sequence[Any] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
  ) -> list[Any]:
    del columns
    if ground_truth is None:
      if reward_model is None:
        raise ValueError("no column 'ground_truth' and none 'reward_model'")
      ground_truth = [entry["ground_truth"] for entry in reward_model]
    results = [
      compute_score(
        data_source=data_source[i],
        solution_str=math_answer.text_of(completion),
        ground_truth=ground_truth[i],
        extra_info=None if extra_info is None else extra_info[i],
      )
      for i, completion in enumerate(completions)
    ]
    if log_metric is not None:
      _log_means(results, log_metric)
    return [r["score"] if isinstance(r, Mapping) else r for r in results]

  reward.__name__ = calls.name_of(compute_score)
  return reward


def _log_means(
  results: Sequence[Any], log_metric: Callable[[str, float], None]
) -> None:
  tables = [r for r in results if isinstance(r, Mapping)]
  for name in dict.fromkeys(key for table in tables for key in table):
    numbers = [
      float(table[name])
      for table in tables
      if isinstance(table.get(name), (bool, int, float))
    ]
    if numbers and name != "score":
      log_metric(name, sum(numbers) / len(numbers))


def per_sample(function: Callable[..., Any]) -> Callable[..., Any]:
  """A reward function from one of a single completion.

  That is the shape of a rubric of `verifiers`: `function(prompt, completion,
  answer, info, ...)`, given the arguments that it names: `prompt`,
  `completion`, and the entries of the columns.
  """

  def reward(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
  ) -> list[Any]:
    per_row = {k: v for k, v in columns.items() if isinstance(v, list)}
    return [
      function(
        **calls.accepted(
          function,
          {
            **{name: values[i] for name, values in per_row.items()},
            "prompt": prompt,
            "completion": completion,
          },
        )
      )
      for i, (prompt, completion) in enumerate(
        zip(prompts, completions, strict=True)
      )
    ]

  reward.__name__ = calls.name_of(function)
  return reward
