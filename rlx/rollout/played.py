"""Played: a batch of trajectories as the rollout hands it on."""

import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlx.envs import protocol
from rlx.rollout import record

# Episodes that failed: they are in no loss and no statistic but their count. The
# environment raised; a call of it did not return before its deadline.
FAILED = ("environment_error", "rollout_timeout")
# What `info["stop"]` may say. In all but the first three the episode is over as it
# should be: no limit was met.
TOLD = (
  *("max_tool_calls", "max_turns", "max_tokens"),
  *("tool_stopped", "parse_error", "completed"),
)
# Reasons that are no limit.
ENDED = ("completed", "stop", "tool_stopped", "parse_error")


class Played(NamedTuple):
  """A batch of finished trajectories.

  Attributes:
    record: tokens and steps.
    success: bool [B].
    stop: why each ended: "completed", "truncated", "max_turns",
      "context_overflow", or what the environment says, of `TOLD`;
      "environment_error" and "rollout_timeout", of `FAILED`, of episodes;
      "stop", "max_tokens" of completions; "cut" where it can be continued.
    parse_errors: int [B], actions that could not be read.
    seconds: time in "sample" (device) and "environment" or "reward" (host).
    rewards: metrics of single reward functions, `rewards/NAME/mean` and so on.
    origin: for each row, what it takes to continue it: a `Start`, or a tuple of
      `Place`. Empty where nobody asked.
    whole: bool [B], rows that are trajectories of their own, over which metrics
      are taken; None for all. The rows of a tree are steps.
  """

  record: record.Record
  success: np.ndarray
  stop: list[str]
  parse_errors: np.ndarray
  seconds: dict[str, float]
  rewards: Mapping[str, float] = types.MappingProxyType({})
  origin: tuple[Any, ...] = ()
  whole: np.ndarray | None = None


class Start(NamedTuple):
  """The prompt of a completion.

  Attributes:
    row: of the data set.
    length: tokens of the prompt.
  """

  row: Mapping[str, Any]
  length: int


class Place(NamedTuple):
  """Where an episode stood when one of its turns began.

  Attributes:
    length: tokens until then, those the policy was shown included.
    turn: which of its turns it was, from 0.
    state: key of what it acted on.
    snapshot: of the environment, see `protocol.Restorable`.
    make: a fresh episode, to restore the snapshot into.
  """

  length: int
  turn: int
  state: Hashable
  snapshot: Any
  make: Callable[[], protocol.Episode]


def check_told(info: protocol.Info) -> None:
  """Refuses a reason to stop that nobody would know how to count.

  Raises:
    ValueError: it is not of `TOLD`.
  """
  if info.get("stop", TOLD[0]) not in TOLD:
    raise ValueError(
      f'info["stop"]={info["stop"]!r}: must be one of {", ".join(TOLD)}'
    )


def select(one: Played, rows: np.ndarray) -> Played:
  """Returns these rows; segments name rows of the new step table."""
  log = one.record
  turns = log.reward.shape[1]
  fields = {name: getattr(log, name)[rows] for name in record.PER_ROW}
  offset = (np.arange(len(rows)) * turns)[:, None]
  inside = fields["segment"] >= 0
  segment = np.where(inside, fields["segment"] % turns + offset, -1)
  fields["segment"] = segment.astype(np.int32)
  columns = {name: column[rows] for name, column in log.columns.items()}
  breaks = None if log.breaks is None else log.breaks[rows]
  return one._replace(
    record=record.Record(
      **fields, version=_version(log, rows), columns=columns, breaks=breaks
    ),
    success=one.success[rows],
    stop=[one.stop[row] for row in rows],
    parse_errors=one.parse_errors[rows],
    origin=tuple(one.origin[row] for row in rows) if one.origin else (),
    whole=None if one.whole is None else one.whole[rows],
  )


def join(parts: Sequence[Played]) -> Played:
  """Returns batches of one length and number of turns as one, in order."""
  if len(parts) == 1:
    return parts[0]
  logs = [part.record for part in parts]
  both = lambda get: np.concatenate([get(log) for log in logs])
  fields = {
    name: both(lambda log, name=name: getattr(log, name))
    for name in record.PER_ROW
  }
  columns = {
    name: both(lambda log, name=name: log.columns[name])
    for name in logs[0].columns
  }
  # What `select` makes of segments depends on their place in a row only.
  seconds: dict[str, float] = {}
  for part in parts:
    for name, spent in part.seconds.items():
      seconds[name] = seconds.get(name, 0.0) + spent
  whole = [
    np.ones(len(part.stop), bool) if part.whole is None else part.whole
    for part in parts
  ]
  one = Played(
    record=record.Record(
      **fields,
      version=_versions(logs),
      columns=columns,
      breaks=_breaks(logs),
    ),
    success=np.concatenate([part.success for part in parts]),
    stop=[stop for part in parts for stop in part.stop],
    parse_errors=np.concatenate([part.parse_errors for part in parts]),
    seconds=seconds,
    rewards=mean_rewards(parts),
    origin=tuple(x for part in parts for x in part.origin),
    whole=None
    if all(p.whole is None for p in parts)
    else np.concatenate(whole),
  )
  return select(one, np.arange(len(one.stop)))


def mean_rewards(parts: Sequence[Played]) -> dict[str, float]:
  """Returns the metrics of reward functions, by how many rows were scored.

  So a mean is that of all; a spread is the mean of the parts' spreads.
  """
  total: dict[str, float] = {}
  count: dict[str, int] = {}
  for part in parts:
    scored = sum(stop != "cut" for stop in part.stop)
    for name, value in part.rewards.items():
      total[name] = total.get(name, 0.0) + scored * value
      count[name] = count.get(name, 0) + scored
  return {name: x / count[name] for name, x in total.items() if count[name]}


def fit(one: Played, length: int) -> Played:
  """Returns the rows cut or padded to `length`, which holds all their tokens."""
  log = one.record
  if log.length.max(initial=0) > length:
    raise ValueError(
      f"a row of {log.length.max()} tokens is longer than {length}"
    )
  fields = {name: getattr(log, name) for name in record.PER_ROW}
  for name in record.PER_TOKEN:
    old = fields[name][:, :length]
    fill = -1 if name == "segment" else 0
    pad = ((0, 0), (0, length - old.shape[1]))
    fields[name] = np.pad(old, pad, constant_values=fill)
  return one._replace(
    record=record.Record(**fields, version=log.version, columns=log.columns)
  )


def _version(log: record.Record, rows: np.ndarray) -> int | np.ndarray:
  own = log.version
  return own[rows] if isinstance(own, np.ndarray) else own


def _breaks(logs: Sequence[record.Record]) -> np.ndarray | None:
  found = [log.breaks for log in logs if log.breaks is not None]
  return np.concatenate(found) if found else None


def _versions(logs: Sequence[record.Record]) -> int | np.ndarray:
  """One version where all logs agree, else one for each row."""
  own = [log.version for log in logs]
  if all(isinstance(x, int) and x == own[0] for x in own):
    return own[0]
  shape = lambda log: (len(log.tokens), 1)
  each = [np.broadcast_to(log.version, shape(log)) for log in logs]
  return np.concatenate(each)
