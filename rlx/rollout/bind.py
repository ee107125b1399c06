"""Binds the verbs to a task: engines for every shape, made when needed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from rlx import policy as policies
from rlx.rollout import completions, pages, played
from rlx.rollout import engine as engines
from rlx.rollout import memory as memories

# (shape) -> Engine
MakeEngine = Callable[[engines.Shape], engines.Engine]
_PARTS = (
  16,
  4,
  1,
)  # Parts of a batch that are drawn, where there are few cuts.


def memory(
  policy: policies.Policy,
  shape: engines.Shape,
  mesh: Mesh,
  page_size: int,
  num_pages: int,
) -> memories.Memory:
  """Returns what keeps what was read, of batches of this shape.

  Args:
    num_pages: 0 for as many as the samples of a batch need at the most, of which
      there are only as many as what is kept does, but for doubling.
  """
  samples = pages.needed(shape.tail, page_size) + 1
  prompts = pages.needed(shape.prompt_tokens, page_size)
  need = shape.num_prompts * prompts + shape.rows * samples
  return memories.Memory(
    policy,
    length=shape.length,
    size=page_size,
    num_pages=num_pages or need,
    rows=shape.num_prompts,
    mesh=mesh,
    grows=not num_pages,
  )


def continuing(
  shape: engines.Shape,
  make_engine: MakeEngine,
  go_on: Callable[..., played.Played],
  *,
  devices: int,
) -> Callable[..., played.Played]:
  """Returns `continue_from` of `verbs.Verbs`, with the parameters in front.

  The cuts are drawn in parts of three sizes, by how many there are, so that a
  shape is compiled three times for each number of continuations and each limit,
  at the most. Cuts of one row are drawn together, as what comes before them is
  looked at together; those of episodes with cuts of the same turn, so that they
  end together.

  Args:
    shape: of `sample`.
    make_engine: compiles one shape.
    go_on: continues one part with an engine, `(engine, params, before, cuts,
      **settings) -> Played`.
    devices: over which the rows must divide.
  """

  @functools.cache
  def engine(n, tokens, turns, num):
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
    keep: bool = True,
  ) -> played.Played:
    if not cuts or n < 1:
      raise ValueError(f"{len(cuts)} cuts, n={n}: there must be 1 or more")
    for name, most in (("max_tokens", max_tokens), ("max_turns", max_turns)):
      if most is not None and most < 1:
        raise ValueError(f"{name}={most}: must be 1 or more, or None for all")
    tokens = min(max_tokens or shape.action_tokens, shape.action_tokens)
    turns = min(max_turns or shape.turns, shape.turns)
    sizes = [-(-shape.rows // (n * part)) for part in _PARTS]
    most = next((x for x in sizes if len(cuts) <= x), sizes[-1])
    order = np.arange(len(cuts))
    if len(cuts) > most:
      order = _order(before, cuts, turns)
    made, parts = engine(n, tokens, turns, most), []
    for at in range(0, len(order), most):
      part = [cuts[k] for k in order[at : at + most]]
      found = go_on(
        made,
        params,
        before,
        part,
        max_tokens=None if max_tokens is None else tokens,
        seed=seed,
        version=version,
        keep=keep,
      )
      parts.append(found)
    rows = np.argsort(order)[:, None] * n + np.arange(n)
    one = played.select(played.join(parts), rows.reshape(-1))
    return played.fit(one, shape.length)

  return continue_from


def _order(
  before: played.Played, cuts: Sequence[Any], turns: int
) -> np.ndarray:
  """Returns the cuts in the order in which they are drawn."""
  row, length = np.array(cuts).T
  if turns == 1:
    return np.lexsort((length, row))
  turn = {
    (r, place.length): place.turn
    for r in set(row.tolist())
    for place in before.origin[r]
  }
  # What is no place is refused when it is drawn.
  return np.lexsort((row, [turn.get((int(r), int(n)), 0) for r, n in cuts]))


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
