"""A memory of pairs on arrays: what was put is asked for, many turns later."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rlx.envs.device import protocol

EVIDENCE = ("process", "grounded")
OK = "ok"


class Talk(NamedTuple):
  """The state; axis `T` turns.

  Attributes:
    asks: bool [T], whether a turn asks, or puts.
    keys: int32 [T], what about.
    values: int32 [T], what is put, or is to be answered.
    turn: int32 [], from 0; `T` at the end.
    right: int32 [], questions answered rightly.
  """

  asks: Any
  keys: Any
  values: Any
  turn: Any
  right: Any


def make(
  *,
  num_keys: int,
  num_values: int,
  turns: int,
  invalid_penalty: float,
  script: Callable[[int, str], Talk],
) -> protocol.Game:
  """Returns the game.

  Args:
    script: `(index, split) -> Talk`, of NumPy arrays, in its first turn.
  """
  pieces = (
    *("put", "ask"),
    *(f" k{i}" for i in range(num_keys)),
    *(f" v{i}" for i in range(num_values)),
  )
  values = tuple(f"v{i}" for i in range(num_values))

  def observe(state, xp):
    at = xp.minimum(state.turn, turns - 1)
    asks = state.asks[at]
    value = xp.where(asks, -1, 2 + num_keys + state.values[at])
    shown = [xp.where(asks, 1, 0), 2 + state.keys[at], value]
    return xp.stack(shown).astype(np.int32)

  def step(state, action, xp):
    asks = state.asks[state.turn]
    readable = action >= 0
    # The first action is `ok`.
    want = xp.where(asks, 1 + state.values[state.turn], 0)
    right = action == want
    answered = state.right + (asks & right)
    questions = xp.sum(state.asks)
    terminated = state.turn + 1 == turns
    reward = xp.where(
      readable, xp.where(asks & right, 1.0 / questions, 0.0), -invalid_penalty
    )
    after = state._replace(
      turn=xp.where(True, state.turn + 1, 0).astype(np.int32),
      right=answered.astype(np.int32),
    )
    told = xp.stack([right, readable])
    return protocol.Stepped(
      state=after,
      reward=reward.astype(np.float32),
      terminated=terminated,
      truncated=xp.zeros((), bool),
      success=(answered == questions).astype(np.int32),
      parse_error=~readable,
      evidence=told.astype(np.float32),
    )

  return protocol.Game(
    pieces=pieces,
    actions=(OK, *values),
    begin=lambda index, split, seed: script(index, split),
    reseed=lambda state, seed: state,
    observe=observe,
    step=step,
    # What was said so far is the prompt's: members of a group hear the same.
    key=lambda state, xp: state.turn[None],
    state_key=lambda numbers: f"turn {numbers[0]}",
    evidence=EVIDENCE,
  )
