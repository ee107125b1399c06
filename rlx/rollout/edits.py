"""The verb `edit`: other histories made of the one that was played.

Every function copies; what was played stays as it was. What holds of a record
holds after an edit: a row's tokens stand from the left without gaps; a step's
tokens, those with its number in `segment`, stand together and in order of the
steps; `mask` is true and log-probabilities are not 0 only on tokens that the
policy chose; a step has one place in every [B, T] array.

In a row the tokens of step t begin where the policy, or whoever spoke for it,
began to write, and what it was shown next follows them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rlx.rollout import record

# What becomes of a row: slices of the old one, and new tokens with the step
# they belong to, -1 for none. Nobody chose the new ones.
Part = slice | tuple[Sequence[int], int]

# Arrays [B, L] and [B, T] of a record.
TOKENS = ("tokens", "mask", "log_probs", "raw_log_probs")
TURNS = ("reward", "state", "action", "next_state")


def starts(log: record.Record, row: int) -> np.ndarray:
  """Returns where the tokens of each of the row's steps begin, then its length.

  An empty step, in which nothing was written, begins where the next one does.
  """
  turn = log.segment[row] - row * log.reward.shape[1]
  out = np.full(log.turns[row] + 1, log.length[row], np.int64)
  for t in range(int(log.turns[row]) - 1, -1, -1):
    found = np.flatnonzero((turn == t) & (log.segment[row] >= 0))
    out[t] = found[0] if len(found) else out[t + 1]
  return out


def ends(log: record.Record, row: int) -> np.ndarray:
  """Returns where the tokens of each of the row's steps end."""
  begin = starts(log, row)[:-1]
  steps = row * log.reward.shape[1] + np.arange(log.turns[row])
  written = (log.segment[row][None] == steps[:, None]).sum(1)
  return begin + written


def replace(
  log: record.Record, others: Mapping[tuple[int, int], Sequence[int]]
) -> record.Record:
  """Returns a copy in which steps `(row, turn)` have been written by others.

  The new tokens are the step's, but the policy did not choose them, so that
  they are context and not in the loss. An expert's patch is such an edit.

  Raises:
    ValueError: there is no such step, or the row becomes too long.
  """
  rows: dict[int, list[Part]] = {}
  for row in sorted({row for row, _ in others}):
    begin, end = starts(log, row), ends(log, row)
    parts: list[Part] = [slice(0, begin[0])]
    for t in range(int(log.turns[row])):
      given = others.get((row, t))
      step = slice(begin[t], end[t])
      parts += [step if given is None else (given, t)]
      parts += [slice(end[t], begin[t + 1])]
    rows[row] = parts
  _check_steps(log, others)
  return rewrite(log, rows)


def erase(
  log: record.Record, steps: Mapping[int, Sequence[int]]
) -> record.Record:
  """Returns a copy without these steps of these rows, as `{row: turns}`.

  A step leaves with what the policy was shown after it, and with what was paid
  for it; the later ones move up. So it is neither in the context nor in the
  loss.

  Raises:
    ValueError: there is no such step.
  """
  _check_steps(log, [(row, t) for row, turns in steps.items() for t in turns])
  rows: dict[int, list[Part]] = {}
  kept: dict[int, list[int]] = {}
  for row, turns in steps.items():
    begin = starts(log, row)
    kept[row] = [t for t in range(int(log.turns[row])) if t not in turns]
    rows[row] = [slice(0, begin[0])]
    rows[row] += [slice(begin[t], begin[t + 1]) for t in kept[row]]
  return rewrite(log, rows, kept)


def erase_role(log: record.Record, role: int) -> record.Record:
  """Returns a copy without the steps of one agent, by the column "role"."""
  roles = log.columns["role"]
  live = np.arange(roles.shape[1])[None] < log.turns[:, None]
  found = live & (roles == role)
  rows = np.flatnonzero(found.any(1))
  return erase(log, {int(b): np.flatnonzero(found[b]).tolist() for b in rows})


def truncate(log: record.Record, turns: Mapping[int, int]) -> record.Record:
  """Returns a copy in which rows keep their first so many steps.

  What was shown after the last one leaves too.

  Raises:
    ValueError: a row has fewer steps.
  """
  rows: dict[int, list[Part]] = {}
  for row, keep in turns.items():
    if not 0 <= keep <= log.turns[row]:
      raise ValueError(
        f"row {row} has {log.turns[row]} steps and cannot keep {keep}"
      )
    end = ends(log, row)[keep - 1] if keep else starts(log, row)[0]
    rows[row] = [slice(0, end)]
  return rewrite(log, rows, {row: list(range(n)) for row, n in turns.items()})


def insert(
  log: record.Record, tokens: Mapping[int, tuple[int, Sequence[int]]]
) -> record.Record:
  """Returns a copy with `{row: (position, tokens)}` that nobody chose.

  A hint is such an edit, and so is an answer that is forced at the end.

  Raises:
    ValueError: the position is beyond the row or inside of a step, or the row
      becomes too long.
  """
  rows: dict[int, list[Part]] = {}
  for row, (at, ids) in tokens.items():
    own = log.segment[row]
    inside = (
      0 < at < log.length[row] and own[at] >= 0 and own[at - 1] == own[at]
    )
    if not 0 <= at <= log.length[row] or inside:
      raise ValueError(
        f"position {at} of row {row}, which has {log.length[row]} tokens, is "
        "beyond its end or inside of a step"
      )
    rows[row] = [slice(0, at), (ids, -1), slice(at, log.length[row])]
  return rewrite(log, rows)


def rewrite(
  log: record.Record,
  rows: Mapping[int, Sequence[Part]],
  steps: Mapping[int, Sequence[int]] | None = None,
) -> record.Record:
  """Returns a copy with rows made of other parts.

  Args:
    rows: what each row becomes.
    steps: which of its steps a row keeps, in order; all unless given. Tokens of
      the others must not be among the parts.

  Raises:
    ValueError: a row becomes longer than the record is wide.
  """
  out = copy(log)
  width = log.reward.shape[1]
  for row, parts in rows.items():
    kept = (steps or {}).get(row, list(range(int(log.turns[row]))))
    moved = {row * width + t: row * width + i for i, t in enumerate(kept)}
    pieces = [_piece(log, row, part) for part in parts]
    length = sum(len(piece["tokens"]) for piece in pieces)
    if length > log.tokens.shape[1]:
      raise ValueError(
        f"row {row} becomes {length} tokens long and there is room for "
        f"{log.tokens.shape[1]}"
      )
    for name in TOKENS:
      getattr(out, name)[row] = 0
      line = np.concatenate([piece[name] for piece in pieces])
      getattr(out, name)[row, :length] = line
    segment = np.concatenate([piece["segment"] for piece in pieces])
    out.segment[row] = -1
    out.segment[row, :length] = [moved.get(int(s), -1) for s in segment]
    out.length[row], out.turns[row] = length, len(kept)
    for table, old in zip(tables(out), tables(log), strict=True):
      table[row] = 0
      table[row, : len(kept)] = old[row, kept]
  return out


def copy(log: record.Record) -> record.Record:
  """Returns a record of its own."""
  arrays = {
    field.name: np.copy(value)
    for field in dataclasses.fields(log)
    if isinstance(value := getattr(log, field.name), np.ndarray)
  }
  columns = {name: np.copy(x) for name, x in log.columns.items()}
  return dataclasses.replace(log, **arrays, columns=columns)


def drop(log: record.Record, rows: Sequence[int]) -> record.Record:
  """Returns a copy without these rows: no steps, no loss, no statistics."""
  out = copy(log)
  for row in rows:
    out.drop(int(row))
  return out


def _piece(log: record.Record, row: int, part: Part) -> dict[str, np.ndarray]:
  names = (*TOKENS, "segment")
  if isinstance(part, slice):
    return {name: getattr(log, name)[row, part] for name in names}
  ids, turn = part
  step = -1 if turn < 0 else row * log.reward.shape[1] + turn
  new = {name: np.zeros(len(ids)) for name in names}
  return new | {"tokens": np.array(ids), "segment": np.full(len(ids), step)}


def tables(log: record.Record) -> list[np.ndarray]:
  """The [B, T] arrays, in an order that depends on their names only."""
  columns = [log.columns[name] for name in sorted(log.columns)]
  return [*(getattr(log, name) for name in TURNS), *columns]


def _check_steps(log: record.Record, steps) -> None:
  for row, turn in steps:
    if not (0 <= row < len(log.turns) and 0 <= turn < log.turns[row]):
      raise ValueError(
        f"there is no step {turn} in row {row}: of {len(log.turns)} rows it has "
        f"{log.turns[row] if 0 <= row < len(log.turns) else 0} steps"
      )
