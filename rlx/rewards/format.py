"""Rewards of form: what a completion looks like, and how long it is."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rlx.rewards import math_answer


def has_answer_mark(completions: Sequence[Any], **columns: Any) -> list[float]:
  """1 where a completion marks its answer by `\\boxed{}` or `####`, else 0."""
  del columns
  return [
    float(math_answer.is_marked(math_answer.text_of(c))) for c in completions
  ]


def matches(pattern: str) -> Callable[..., list[float]]:
  """A reward of 1 where a pattern matches a whole completion, else 0.

  `.` matches newlines too. Patterns that backtrack without bound, such as
  `(a+)+`, stall the run: write them otherwise, or judge in
  `rlx.rewards.process`.
  """
  compiled = re.compile(pattern, re.DOTALL)

  def format_match(completions: Sequence[Any], **columns: Any) -> list[float]:
    del columns
    texts = map(math_answer.text_of, completions)
    return [float(compiled.fullmatch(text) is not None) for text in texts]

  return format_match


def soft_overlong(
  max_completion_length: int, buffer: int
) -> Callable[..., list[float]]:
  """A penalty that grows over the last tokens before the limit.

      0                                            if length <= limit - buffer
      (limit - buffer - length) / buffer           up to the limit
      -1                                           beyond

  Args:
    max_completion_length: the limit, in tokens.
    buffer: over how many tokens the penalty grows from 0 to -1.

  Source: Yu et al. 2025 (DAPO), arXiv:2503.14476, Eq. 13.
  """
  if not 0 < buffer <= max_completion_length:
    raise ValueError(
      f"buffer={buffer} is not in 1 to max_completion_length"
      f"={max_completion_length}"
    )
  free = max_completion_length - buffer

  def overlong(
    completion_ids: Sequence[Sequence[int]], **columns: Any
  ) -> list[float]:
    del columns
    return [
      max(-1.0, min(0.0, (free - len(ids)) / buffer)) for ids in completion_ids
    ]

  return overlong
