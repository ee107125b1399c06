"""The record of a batch while it is played, on the host, and its step table."""

import dataclasses
import hashlib
from collections.abc import Hashable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from rlx import batch
from rlx.rollout import breaks as breaks_lib


@dataclasses.dataclass
class Record:
  """Tokens and steps of `B` trajectories, growing turn by turn.

  Axes: `B` trajectories, `L` tokens, `T` turns. Arrays are NumPy's; `rollout()`
  and `steps()` give the values that flow on.

  `columns` are [B, T]. One that is called like a field of `Steps` stands in for
  what `steps()` would derive, as `parent` in a tree, where it is a row of the
  step table; all others are evidence and become `extras`.

  Where a template rewrites what was said, a row is several segments on end, see
  `breaks`: each is a sequence of `rollout()`.
  """

  prompt: np.ndarray  # [B], unique in the run: the group.
  sample: np.ndarray  # [B], which of its group.
  tokens: np.ndarray  # [B, L]
  mask: np.ndarray
  log_probs: np.ndarray
  raw_log_probs: np.ndarray
  segment: np.ndarray
  length: np.ndarray  # [B]
  turns: np.ndarray  # [B]
  reward: np.ndarray  # [B, T]
  state: np.ndarray
  action: np.ndarray
  next_state: np.ndarray
  version: int | np.ndarray  # [B, 1] where rows differ.
  columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  breaks: np.ndarray | None = None  # [B, T]

  @classmethod
  def empty(
    cls,
    prompt: np.ndarray,
    sample: np.ndarray,
    *,
    length: int,
    turns: int,
    version: int | np.ndarray,
    evidence: Sequence[str] = (),
    segmented: bool = False,
  ) -> "Record":
    """Returns the record of trajectories that have no token yet.

    Args:
      length: most tokens of one, or of one segment of it.
      evidence: columns that `pay` is to be given for every step.
      segmented: whether any turn may begin a segment.
    """
    b = len(prompt)
    if segmented:
      length *= turns
    ints = lambda *shape: np.zeros(shape, np.int32)
    floats = lambda *shape: np.zeros(shape, np.float32)
    return cls(
      prompt=prompt.astype(np.int32),
      sample=sample.astype(np.int32),
      tokens=ints(b, length),
      mask=np.zeros((b, length), bool),
      log_probs=floats(b, length),
      raw_log_probs=floats(b, length),
      segment=np.full((b, length), -1, np.int32),
      length=ints(b),
      turns=ints(b),
      reward=floats(b, turns),
      state=ints(b, turns),
      action=ints(b, turns),
      next_state=ints(b, turns),
      version=version,
      columns={name: floats(b, turns) for name in evidence},
      breaks=breaks_lib.first(b, turns) if segmented else None,
    )

  def observe(self, rows: np.ndarray, tokens: Sequence[Sequence[int]]) -> None:
    """Appends tokens that the policy did not choose."""
    for row, ids in zip(rows, tokens, strict=True):
      start = self.length[row]
      self.tokens[row, start : start + len(ids)] = ids
      self.length[row] = start + len(ids)

  def act(
    self,
    rows: np.ndarray,
    tokens: np.ndarray,
    log_probs: np.ndarray,
    raw_log_probs: np.ndarray,
    length: np.ndarray,
  ) -> None:
    """Appends one step: what the policy wrote in this turn.

    `rows` are those that acted; the other arguments are aligned with them.
    """
    offset = np.arange(tokens.shape[1])
    inside = offset[None] < length[:, None]
    at = self.length[rows][:, None] + offset[None]
    row = np.broadcast_to(rows[:, None], at.shape)[inside]
    column = at[inside]
    self.tokens[row, column] = tokens[inside]
    self.mask[row, column] = True
    self.log_probs[row, column] = log_probs[inside]
    self.raw_log_probs[row, column] = raw_log_probs[inside]
    step = rows * self.reward.shape[1] + self.turns[rows]
    self.segment[row, column] = np.broadcast_to(step[:, None], at.shape)[inside]
    self.length[rows] += length
    self.turns[rows] += 1

  def pay(
    self,
    row: int,
    reward: float,
    state: Hashable,
    action: Hashable,
    next_state: Hashable,
    evidence: Mapping[str, float] | None = None,
  ) -> None:
    """Fills the row's latest step.

    Raises:
      ValueError: evidence is missing that the record has a column for, or is
        not finite.
    """
    turn = self.turns[row] - 1
    for name, column in self.columns.items():
      if evidence is None or name not in evidence:
        raise ValueError(
          f"the step has no evidence {name!r}, which the recipe reads: every "
          f'step needs it in info["evidence"]; here are '
          f"{', '.join(map(repr, evidence or ())) or 'none'}"
        )
      if not abs(float(evidence[name])) <= np.finfo(np.float32).max:
        raise ValueError(
          f"evidence {name!r} is {evidence[name]}: must be a finite float32"
        )
      column[row, turn] = evidence[name]
    self.reward[row, turn] = reward
    self.state[row, turn] = key(state)
    self.action[row, turn] = key(action)
    self.next_state[row, turn] = key(next_state)

  def drop(self, row: int) -> None:
    """Takes a trajectory out of the loss and of every statistic."""
    self.mask[row] = False
    self.segment[row] = -1
    self.turns[row] = 0
    self.reward[row] = 0

  def begin_segment(self, row: int) -> None:
    """Has the row's next turn open a segment, here."""
    assert self.breaks is not None
    self.breaks[row, self.turns[row]] = self.length[row]

  def current(self, row: int) -> list[int]:
    """Returns the tokens of the row's latest segment."""
    begin = 0 if self.breaks is None else self.breaks[row].max()
    return self.tokens[row, begin : self.length[row]].tolist()

  def rollout(self) -> batch.Rollout:
    """Returns the tokens, copied to the default device: [B, L].

    With segments they are [B * T, L / T]: the segment that turn t of b opened is
    row `b * T + t`, which is empty where it opened none.
    """
    valid = np.arange(self.tokens.shape[1])[None] < self.length[:, None]
    version = np.full_like(self.tokens, self.version)
    taken = {name: getattr(self, name) for name in PER_TOKEN}
    taken |= {"valid": valid, "version": version}
    if self.breaks is not None:
      fill = dict.fromkeys(taken, 0) | {"segment": -1}
      taken = {
        name: breaks_lib.apart(x, self.breaks, self.length, fill[name])
        for name, x in taken.items()
      }
    return batch.Rollout(**{name: jnp.array(x) for name, x in taken.items()})

  def along(self, x: np.ndarray, row: int) -> np.ndarray:
    """Returns what `x`, shaped as `rollout()`, holds of a row's tokens."""
    if self.breaks is None:
      return x[row]
    return breaks_lib.along(x, self.breaks, self.length, row)

  def steps(self) -> batch.Steps:
    """Returns the step table, `B * T` rows: row `b * T + t` is step t of b.

    The extra `length` is the number of tokens the policy chose in the step's
    trajectory.
    """
    b, t = self.reward.shape
    index = np.broadcast_to(np.arange(t, dtype=np.int32), (b, t))
    exists = index < self.turns[:, None]
    trajectory = np.broadcast_to(np.arange(b, dtype=np.int32)[:, None], (b, t))
    row = trajectory * t + index
    each = lambda x: np.broadcast_to(x[:, None], (b, t))
    weight = exists.astype(np.float32)
    votes = weight / np.maximum(self.turns, 1).astype(np.float32)[:, None]
    ints = lambda x: jnp.array(x, jnp.int32).reshape(-1)
    floats = lambda x: jnp.array(x, jnp.float32).reshape(-1)
    table = dict(
      prompt=ints(each(self.prompt)),
      trajectory=ints(trajectory),
      index=ints(index),
      parent=ints(np.where(exists & (index > 0), row - 1, -1)),
      depth=ints(index),
      tree=ints(each(self.prompt)),
      role=ints(np.zeros((b, t))),
      state=ints(self.state),
      action=ints(self.action),
      next_state=ints(self.next_state),
      reward=floats(self.reward * weight),
      outcome=floats(each(self.outcome()) * weight),
      value=floats(np.zeros((b, t))),
      continues=floats(index + 1 < self.turns[:, None]),
      vote=floats(votes),
      weight=floats(weight),
    )
    extras = {"length": floats(each(self.mask.sum(1)) * weight)}
    for name, column in self.columns.items():
      if name in table:
        cast = ints if table[name].dtype == jnp.int32 else floats
        table[name] = cast(column)
      else:
        extras[name] = floats(np.where(exists, column, 0.0))
    return batch.Steps(**table, extras=extras)

  def outcome(self) -> np.ndarray:
    """Returns each trajectory's total reward, float32 [B].

    Where there is a column of that name, it is the entry of the last step.
    """
    if "outcome" in self.columns:
      last = np.maximum(self.turns - 1, 0)
      found = self.columns["outcome"][np.arange(len(last)), last]
      return np.where(self.turns > 0, found, 0).astype(np.float32)
    index = np.arange(self.reward.shape[1])[None]
    paid = np.where(index < self.turns[:, None], self.reward, 0)
    return paid.sum(1).astype(np.float32)


PER_TOKEN = ("tokens", "mask", "log_probs", "raw_log_probs", "segment")
PER_ROW = (
  *("prompt", "sample", *PER_TOKEN, "length", "turns"),
  *("reward", "state", "action", "next_state"),
)


def branch(
  log: Record, cuts: Sequence[tuple[int, int]], group: int, seed: int
) -> np.ndarray:
  """Returns a number for each of `group` continuations of each cut, int32.

  It depends on the prompt, the sample, the place and the seed, so that draws
  from different places differ wherever in a batch they are made.
  """
  numbers = [
    key((int(log.prompt[row]), int(log.sample[row]), length, seed, member))
    for row, length in cuts
    for member in range(group)
  ]
  return np.array(numbers, np.int32)


def key(value: Hashable) -> int:
  """Returns a 31-bit hash of a key, the same in every process and run.

  Keys are numbers, strings, and tuples and frozensets of such, or whatever else
  has a `repr` that tells equal from different.

  Raises:
    ValueError: a key whose `repr` is its address in memory.
  """
  digest = hashlib.blake2b(_text(value).encode(), digest_size=4).digest()
  return int.from_bytes(digest, "little") & 0x7FFFFFFF


def _text(value: Hashable) -> str:
  if isinstance(value, tuple):
    return f"({', '.join(map(_text, value))})"
  if isinstance(value, frozenset):  # Its own order differs between processes.
    return f"{{{', '.join(sorted(map(_text, value)))}}}"
  if isinstance(value, np.generic):
    value = value.item()
  if type(value).__repr__ is object.__repr__:
    raise ValueError(
      f"{value!r} cannot be a key of a state or action: it is told by its "
      "address only; use a string, a number, or a tuple of such"
    )
  return repr(value)
