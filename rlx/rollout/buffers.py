"""The verb `buffer`: what a run remembers from one batch to the next.

A buffer is a pytree of NumPy arrays of fixed shapes, and what is done to it is
a pure function: the old one is left as it was. So buffers live in the train
state, are saved with it, and a resumed run has them.

An entry has a `key`, which says what it is of (a prompt, a question). Prompts
are told by their tokens, `prompt_keys`: the indices of a run never repeat.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import edits, record

EMPTY = -1  # Key of a slot that holds nothing.


class Buffer(NamedTuple):
  """Entries in slots, `C` of them.

  Attributes:
    key: int32 [C], not negative; `EMPTY` where there is no entry.
    time: int32 [C], the clock when the entry was put in.
    order: int32 [C], the number of the entry among all that were put in.
    clock: int32 [], of `tick`.
    num_put: int32 [], entries put in so far.
    items: arrays [C, ...], what an entry is.
  """

  key: np.ndarray
  time: np.ndarray
  order: np.ndarray
  clock: np.ndarray
  num_put: np.ndarray
  items: dict[str, np.ndarray]


_ARRAYS = ("key", "time", "order", "clock", "num_put")


def empty(capacity: int, like: Mapping[str, np.ndarray]) -> Buffer:
  """Returns a buffer of `capacity` slots for items like the given ones."""
  if capacity < 1:
    raise ValueError(f"capacity={capacity}: a buffer needs 1 slot or more")
  zeros = np.zeros(capacity, np.int32)
  return Buffer(
    key=np.full(capacity, EMPTY, np.int32),
    time=zeros,
    order=zeros.copy(),
    clock=np.zeros((), np.int32),
    num_put=np.zeros((), np.int32),
    items={
      name: np.zeros((capacity, *np.shape(x)), np.asarray(x).dtype)
      for name, x in like.items()
    },
  )


def tick(buffer: Buffer, max_age: int | None = None) -> Buffer:
  """Returns the buffer one batch later, without entries that are too old.

  Args:
    max_age: an entry may be so many batches old; None for any age.
  """
  clock = np.asarray(buffer.clock + 1, np.int32)
  if max_age is None:
    return buffer._replace(clock=clock)
  old = (buffer.key != EMPTY) & (clock - buffer.time > max_age)
  return remove(buffer._replace(clock=clock), np.flatnonzero(old))


def put(
  buffer: Buffer,
  entries: Sequence[tuple[int, Mapping[str, np.ndarray]]],
  *,
  per_key: int | None = None,
) -> Buffer:
  """Returns the buffer with more entries, each `(key, item)`.

  Where there is no room the oldest entry leaves: of the same key where it has
  `per_key` of them already, else of all.

  Raises:
    ValueError: a negative key, or an item of another kind.
  """
  arrays = {name: np.copy(getattr(buffer, name)) for name in _ARRAYS}
  out = Buffer(**arrays, items=_copied(buffer.items))
  for key, item in entries:
    _check(out, key, item)
    slot = _room(out, key, per_key)
    out.key[slot], out.time[slot] = key, out.clock
    out.order[slot] = out.num_put
    out.num_put[...] += 1
    for name, value in item.items():
      out.items[name][slot] = value
  return out


def find(buffer: Buffer, key: int) -> np.ndarray:
  """Returns the slots of a key, in the order in which they were filled."""
  slots = np.flatnonzero(buffer.key == key)
  return slots[np.argsort(buffer.order[slots], kind="stable")]


def get(buffer: Buffer, slot: int) -> dict[str, np.ndarray]:
  """Returns a copy of the entry in a slot."""
  return {name: np.copy(x[slot]) for name, x in buffer.items.items()}


def ages(buffer: Buffer) -> np.ndarray:
  """Returns how many batches ago each slot was filled; -1 where it is empty."""
  return np.where(buffer.key == EMPTY, -1, buffer.clock - buffer.time)


def remove(buffer: Buffer, slots: np.ndarray) -> Buffer:
  """Returns the buffer without what is in these slots."""
  key = buffer.key.copy()
  key[slots] = EMPTY
  return buffer._replace(key=key)


def draw(
  buffer: Buffer, key: int, num: int, seed: int
) -> tuple[list[dict[str, np.ndarray]], Buffer]:
  """Takes up to `num` entries of a key out, chosen at random by the seed.

  What was taken is used, and is not in the buffer that is returned. This is how
  edges of trees are replayed (SPO-tree: age <= 8, <= 32 a question).
  """
  slots = find(buffer, key)
  rng = np.random.default_rng([seed, key])
  chosen = slots[np.sort(rng.permutation(len(slots))[:num])]
  return [get(buffer, int(slot)) for slot in chosen], remove(buffer, chosen)


def prompt_keys(log: record.Record) -> np.ndarray:
  """Returns a key of the prompt of each row, its tokens before the first step.

  A row without steps gets `EMPTY`.
  """
  out = np.full(len(log.tokens), EMPTY, np.int32)
  for row in np.flatnonzero(log.turns > 0):
    prompt = log.tokens[row, : edits.starts(log, int(row))[0]]
    out[row] = record.key(tuple(prompt.tolist()))
  return out


def _copied(items: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  return {name: np.copy(x) for name, x in items.items()}


def _room(buffer: Buffer, key: int, per_key: int | None) -> int:
  """The slot for a new entry."""
  own = find(buffer, key)
  if per_key is not None and len(own) >= per_key:
    return int(own[0])
  free = np.flatnonzero(buffer.key == EMPTY)
  if len(free):
    return int(free[0])
  return int(np.argmin(buffer.order))


def _check(buffer: Buffer, key: int, item: Mapping[str, np.ndarray]) -> None:
  if key < 0:
    raise ValueError(f"key={key} is negative, as the key of an empty slot")
  for name, x in buffer.items.items():
    shape = np.shape(item[name]) if name in item else None
    if shape != x.shape[1:]:
      raise ValueError(
        f"an entry's {name} has the shape {x.shape[1:]}, not {shape}"
      )
  more = sorted(item.keys() - buffer.items.keys())
  if more:
    raise ValueError(f"an entry has {sorted(buffer.items)} and no {more}")
