"""Rows of a batch that went on differently from a place in their middle."""

from collections.abc import Mapping, Sequence

import numpy as np

from rlx.rollout import edits, played


def splice(
  found: played.Played,
  cuts: Sequence[tuple[int, int]],
  drawn: played.Played,
) -> played.Played:
  """Returns `found` with rows that went on differently from a cut.

  Row `i` of `drawn` continues `cuts[i] = (row, length)`: it holds the row's
  first `length` tokens, and its steps are the new ones. In what is returned the
  row has both the steps it had until there and the new ones, and the policy
  chose both. What was written after the cut is nowhere. A row whose environment
  failed after the cut is dropped.

  Raises:
    ValueError: a row is cut twice or inside of a step, or has more steps than
      there is room for.
  """
  if len({row for row, _ in cuts}) < len(cuts):
    raise ValueError(f"a row is continued twice in {list(cuts)}")
  log, new = edits.copy(found.record), drawn.record
  success, stop = found.success.copy(), list(found.stop)
  errors, origin = found.parse_errors.copy(), list(found.origin)
  for source, (row, at) in enumerate(cuts):
    _join_row(log, row, at, new, source)
    success[row], stop[row] = drawn.success[source], drawn.stop[source]
    errors[row] += drawn.parse_errors[source]
    if origin and drawn.origin:
      origin[row] = _places(origin[row], at, drawn.origin[source])
    if drawn.stop[source] in played.FAILED:
      log.drop(row)
  return found._replace(
    record=log,
    success=success,
    stop=stop,
    parse_errors=errors,
    seconds=add_seconds(found.seconds, drawn.seconds),
    origin=tuple(origin),
  )


def add_seconds(*each: Mapping[str, float]) -> dict[str, float]:
  """Returns the time that several draws took, by what took it."""
  names = sorted(set().union(*each))
  return {name: sum(x.get(name, 0.0) for x in each) for name in names}


def _join_row(log, row, at, new, source) -> None:
  """Writes row `source` of `new` behind the first `at` tokens of a row."""
  width = log.reward.shape[1]
  kept = int((edits.starts(log, row)[:-1] < at).sum())
  if kept and edits.ends(log, row)[kept - 1] > at:
    raise ValueError(f"a cut at token {at} of row {row} is inside of a step")
  total = kept + int(new.turns[source])
  if total > width or new.tokens.shape[1] > log.tokens.shape[1]:
    raise ValueError(
      f"row {row} has {kept} steps and {new.turns[source]} new ones, and there "
      f"is room for {width}, of {log.tokens.shape[1]} tokens"
    )
  size = new.tokens.shape[1]
  for name in edits.TOKENS:
    getattr(log, name)[row, at:] = 0
    getattr(log, name)[row, at:size] = getattr(new, name)[source, at:]
  segment = new.segment[source, at:]
  moved = segment % new.reward.shape[1] + row * width + kept
  log.segment[row, at:] = -1
  log.segment[row, at:size] = np.where(segment >= 0, moved, -1)
  log.length[row], log.turns[row] = new.length[source], total
  for table, other in zip(edits.tables(log), edits.tables(new), strict=True):
    table[row, kept:] = 0
    table[row, kept:total] = other[source, : total - kept]


def _places(before, at: int, after):
  """Where a row's turns began; a completion has one beginning, its prompt."""
  if isinstance(after, played.Start):
    return after
  kept = tuple(place for place in before if place.length <= at)
  return kept + tuple(place for place in after if place.length > at)
