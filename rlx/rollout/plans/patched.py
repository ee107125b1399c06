"""UI-S1: the policy plays along a recorded expert, who helps it out."""

import dataclasses
import logging
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from rlx.rollout import (
  acting,
  edits,
  engine,
  filters,
  plan,
  played,
  record,
  verbs,
)

_LOG = logging.getLogger(__name__)

COLUMNS = (
  *("trajectory", "index", "depth", "parent"),
  *("continues", "vote", "outcome"),
)


@runtime_checkable
class Expert(Protocol):
  """What episodes have, beside, if an expert can take over.

  Such a task fills the column "matched": 1 where the action was the expert's.
  """

  def expert_action(self) -> str:
    """Returns what the expert does where the episode stands."""
    ...


class _Piece(NamedTuple):
  """A part of some trajectories, between two patches.

  Attributes:
    found: a row each.
    owner: which sample each row goes on with.
    first: the place each was continued from; empty for the first part.
  """

  found: played.Played
  owner: list[int]
  first: list[Any]


def patched(
  *, patches: int = 2, discount: float = 0.5, threshold: float = 0.0
) -> plan.Plan:
  """Samples; where an action is not the expert's, the expert's stands instead.

  A trajectory goes on behind the expert's action as if the policy had taken it,
  `patches` times; the next mismatch ends it. What the policy wrote itself stays
  a step, with its own reward, and is learnt from: a trajectory spans
  `patches + 1` rows, each of which ends with a mismatch or is the last.

  Groups whose returns from the first step have a population standard deviation
  of `threshold` or less are left out of the loss; the paper samples others.

  Args:
    patches: of one trajectory; -1 for as many as it has turns.
    discount: of the returns by which groups are left out.
    threshold: 0 leaves out groups of equal returns.

  Source: UI-S1, arXiv:2509.11543. [code]

  Raises:
    ValueError: `patches` is below -1.
  """
  if patches < -1:
    raise ValueError(
      f"patches={patches}: must be 0 or more, or -1 for no limit"
    )

  def parts(shape: engine.Shape) -> int:
    return 1 + (shape.turns - 1 if patches < 0 else patches)

  def size(shape: engine.Shape) -> plan.Size:
    return plan.whole(shape)._replace(rows=shape.rows * parts(shape))

  def collect(do: verbs.Verbs, prompt_ids, indices, memory):
    found = do.sample(prompt_ids, indices)
    owner = list(range(len(found.stop)))
    pieces = [_Piece(found, owner, [None] * len(owner))]
    for turn in range(parts(do.shape)):
      pieces[-1] = _until_mismatch(pieces[-1])
      if turn + 1 == parts(do.shape):
        break
      more = _go_on(do, pieces[-1], turn + 1)
      if more is None:
        break
      pieces.append(more)
    whole = _assemble(pieces, parts(do.shape))
    returns = _first_returns(whole.record, parts(do.shape), discount)
    kept = filters.spread(
      returns.reshape(-1, do.shape.num_samples),
      threshold,
      _live(whole.record, parts(do.shape)).reshape(-1, do.shape.num_samples),
    )
    rows = do.shape.num_samples * parts(do.shape)
    log = filters.leave(whole.record, kept, rows)
    told = {"patch/groups_kept": float(kept.mean())}
    told["patch/per_trajectory"] = sum(len(p.owner) for p in pieces[1:]) / len(
      owner
    )
    out = whole._replace(record=log, rewards={**found.rewards, **told})
    return out, memory

  return plan.Plan(
    collect,
    size,
    columns=COLUMNS,
    needs=("sample", "edit", "continue_from", "filter"),
    asks=(Expert,),
    tasks="episodes",
  )


def _until_mismatch(piece: _Piece) -> _Piece:
  """The piece with nothing after the first step that was not the expert's."""
  log = piece.found.record
  there = np.arange(log.reward.shape[1])[None] < log.turns[:, None]
  wrong = there & (log.columns["matched"] == 0)
  turns = {
    int(row): int(np.argmax(wrong[row])) + 1
    for row in np.flatnonzero(wrong.any(1))
  }
  cut = [row for row, kept in turns.items() if kept < log.turns[row]]
  success, stop = piece.found.success.copy(), list(piece.found.stop)
  for row in cut:  # What came then was never played.
    success[row], stop[row] = False, "completed"
  shorter = edits.truncate(log, turns)
  found = piece.found._replace(
    record=shorter,
    success=success,
    stop=stop,
    parse_errors=np.minimum(piece.found.parse_errors, shorter.turns),
  )
  return piece._replace(found=found)


def _go_on(do: verbs.Verbs, piece: _Piece, seed: int) -> _Piece | None:
  """The next piece of the trajectories that ended with a mismatch."""
  found, log = piece.found, piece.found.record
  rows, kept, tails, places = [], [], [], []
  for row in np.flatnonzero(log.turns > 0).tolist():
    last = int(log.turns[row]) - 1
    place = acting.place_of(found, row, last, piece.first[row])
    if place is None or log.columns["matched"][row, last] != 0:
      continue
    try:
      expert = acting.opened(place).expert_action()
      acted = acting.act(place, expert, do.tokenizer, seed=seed)
    except Exception:  # Whatever an environment raises ends its episode.
      _LOG.warning("row %d: the expert could not act", row, exc_info=True)
      continue
    room = do.shape.length - do.shape.action_tokens
    if acted.place is None or acted.place.length > room:
      continue  # The expert ends the episode, or there is no room to go on.
    rows.append(row)
    kept.append(place.length)
    tails.append(acted.tokens)
    places.append(acted.place)
  if not rows:
    return None
  before = acting.stage(found, rows, kept, tails, places)
  drawn = do.continue_from(before, acting.ends(before), 1, seed=seed)
  return _Piece(drawn, [piece.owner[row] for row in rows], places)


def _assemble(pieces: list[_Piece], parts: int) -> played.Played:
  """All pieces as one batch: the rows of a trajectory stand together."""
  samples = len(pieces[0].owner)
  every = played.join([p.found._replace(origin=()) for p in pieces])
  first = np.cumsum([0] + [len(p.owner) for p in pieces])
  at = np.full((samples, parts), -1)
  for number, piece in enumerate(pieces):
    at[piece.owner, number] = first[number] + np.arange(len(piece.owner))
  empty = np.flatnonzero(at.reshape(-1) < 0).tolist()
  rows = np.where(at < 0, at[:, :1], at).reshape(-1)
  whole = played.select(every, rows)
  log = edits.drop(whole.record, empty)
  # A success is the trajectory's, which its last part tells.
  last = (at >= 0).sum(1) - 1
  success = whole.success.reshape(at.shape)[np.arange(samples), last]
  return whole._replace(
    record=dataclasses.replace(log, columns=log.columns | _columns(log, parts)),
    success=np.repeat(success, parts),
    whole=np.arange(len(rows)) % parts == 0,
  )


def _columns(log: record.Record, parts: int) -> dict[str, np.ndarray]:
  """Columns of trajectories that span `parts` rows each."""
  rows, width = log.reward.shape
  there = np.arange(width)[None] < log.turns[:, None]
  by_one = there.reshape(-1, parts * width)
  index = np.where(by_one, by_one.cumsum(1) - 1, 0)
  total = by_one.sum(1, keepdims=True)
  outcome = (log.reward * there).reshape(by_one.shape).sum(1, keepdims=True)
  own = np.arange(rows * width).reshape(by_one.shape)
  before = np.maximum.accumulate(np.where(by_one, own, -1), axis=1)
  before = np.pad(before[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
  trajectory = np.broadcast_to(np.arange(rows // parts)[:, None], by_one.shape)
  found = {
    "trajectory": trajectory,
    "index": index,
    "depth": index,
    "parent": np.where(by_one, before, -1),
    "continues": by_one & (index + 1 < total),
    "vote": by_one / np.maximum(total, 1),
    "outcome": by_one * outcome,
  }
  return {name: x.reshape(rows, width) for name, x in found.items()}


def _first_returns(
  log: record.Record, parts: int, discount: float
) -> np.ndarray:
  """The return of each trajectory's first step, through steps that match."""
  width = log.reward.shape[1]
  there = (np.arange(width)[None] < log.turns[:, None]).reshape(
    -1, parts * width
  )
  reward = log.reward.reshape(there.shape)
  matched = log.columns["matched"].reshape(there.shape)
  out = np.zeros(len(there))
  for number, live in enumerate(there):
    total, after = 0.0, 0.0
    for r, m in zip(
      reward[number][live][::-1], matched[number][live][::-1], strict=True
    ):
      total, after = r + discount * m * after * total, m
    out[number] = total
  return out


def _live(log: record.Record, parts: int) -> np.ndarray:
  return log.turns.reshape(-1, parts).sum(1) > 0
