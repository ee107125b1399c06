"""Binds the verbs to a task: engines for every shape, made when needed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlx.rollout import completions, played
from rlx.rollout import engine as engines

# (shape) -> Engine
MakeEngine = Callable[[engines.Shape], engines.Engine]


def continuing(
  shape: engines.Shape,
  make_engine: MakeEngine,
  go_on: Callable[..., played.Played],
  *,
  devices: int,
) -> Callable[..., played.Played]:
  """Returns `continue_from` of `verbs.Verbs`, with the parameters in front.

  The cuts are drawn in parts of a fixed size, so that a shape is compiled once
  for each number of continuations and each limit.

  Args:
    shape: of `sample`.
    make_engine: compiles one shape.
    go_on: continues one part with an engine, `(engine, params, before, cuts,
      **settings) -> Played`.
    devices: over which the rows must divide.
  """

  @functools.cache
  def engine(n, tokens, turns):
    num = -(-shape.rows // n)
    while num * n % devices:
      num += 1
    return make_engine(
      shape._replace(
        num_prompts=num,
        num_samples=n,
        prompt_tokens=shape.length,
        action_tokens=tokens,
        turns=turns,
      )
    )

  def continue_from(
    params: Any,
    version: int,
    before: played.Played,
    cuts: Sequence[tuple[int, int]],
    n: int,
    *,
    max_tokens: int | None = None,
    max_turns: int | None = None,
    seed: int = 0,
  ) -> played.Played:
    if not cuts or n < 1:
      raise ValueError(f"{len(cuts)} cuts, n={n}: there must be 1 or more")
    tokens = min(max_tokens or shape.action_tokens, shape.action_tokens)
    turns = min(max_turns or shape.turns, shape.turns)
    made = engine(n, tokens, turns)
    size, parts = made.shape.num_prompts, []
    for at in range(0, len(cuts), size):
      part = list(cuts[at : at + size])
      found = go_on(
        made,
        params,
        before,
        part,
        max_tokens=None if max_tokens is None else tokens,
        seed=seed,
        version=version,
      )
      parts.append(found)
    return played.fit(played.join(parts), shape.length)

  return continue_from


def scorer(score: completions.Score) -> Callable[..., Any]:
  """Returns `score` of `verbs.Verbs` for a single-turn task."""

  def call(
    before: played.Played, rows: Sequence[int], texts: Sequence[str]
  ) -> tuple[np.ndarray, np.ndarray]:
    data: list[Mapping[str, Any]] = [before.origin[row].row for row in rows]
    # Nobody sampled these texts, so there are no tokens to show.
    found = score(data, texts, [[] for _ in texts], np.zeros(len(texts), bool))
    return found.rewards, found.success

  return call
