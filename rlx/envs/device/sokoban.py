"""Sokoban on arrays: push every box onto a target."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rlx.envs.device import grid, protocol

FLOOR, WALL, TARGET = 0, 1, 2
# What a cell is, then with a box (on a target), then with the player.
SYMBOLS = (".", "#", "T", "B", "*", "P", "+")
EVIDENCE = ("process", "grounded")


class Room(NamedTuple):
  """The state; cells are numbered row by row.

  Attributes:
    cells: int32 [size * size], `FLOOR`, `WALL` or `TARGET`.
    boxes: bool [size * size].
    player: int32 [].
  """

  cells: Any
  boxes: Any
  player: Any


def make(
  *,
  size: int,
  num_boxes: int,
  box_reward: float,
  invalid_penalty: float,
  level: Callable[[int, str], Room],
) -> protocol.Game:
  """Returns the game.

  Args:
    level: `(index, split) -> Room`, of NumPy arrays.
  """
  first = grid.first(size, len(SYMBOLS))
  number = np.arange(size * size, dtype=np.int32)

  def observe(state, xp):
    at = xp.where(state.cells == TARGET, 1, 0)
    symbol = xp.where(state.boxes, 3 + at, state.cells)
    symbol = xp.where(number == state.player, 5 + at, symbol)
    return first + symbol.astype(np.int32)

  def free(state, cell, xp):
    return (state.cells[cell] != WALL) & ~state.boxes[cell]

  def moved(state, action, xp):
    ahead = grid.moved(state.player, action, size, xp)
    beyond = grid.moved(ahead, action, size, xp)
    pushes = state.boxes[ahead] & (beyond != ahead) & free(state, beyond, xp)
    # At the edge a move leads to where it began, and is none.
    goes = (ahead != state.player) & (free(state, ahead, xp) | pushes)
    pushed = (state.boxes & (number != ahead)) | (number == beyond)
    return state._replace(
      boxes=xp.where(goes & pushes, pushed, state.boxes),
      player=xp.where(goes, ahead, state.player).astype(np.int32),
    )

  def step(state, action, xp):
    readable = action >= 0
    tried = moved(state, xp.maximum(action, 0), xp)
    after = Room(
      *(xp.where(readable, x, y) for x, y in zip(tried, state, strict=True))
    )
    done = lambda room: xp.sum(room.boxes & (room.cells == TARGET))
    placed = done(after)
    gained = placed - done(state)
    solved = placed == num_boxes
    # Rounded as on a device, where there is no wider number.
    paid = np.float32(box_reward) * gained + solved
    reward = xp.where(readable, paid, -invalid_penalty)
    told = xp.stack([gained > 0, readable])
    return protocol.Stepped(
      state=after,
      reward=reward.astype(np.float32),
      terminated=solved,
      truncated=xp.zeros((), bool),
      success=solved.astype(np.int32),
      parse_error=~readable,
      evidence=told.astype(np.float32),
    )

  def key(state, xp):
    # A grid has no cell of that number.
    places = xp.sort(xp.where(state.boxes, number, size * size))
    player = state.player[None]
    return xp.concatenate([player, places[:num_boxes]]).astype(np.int32)

  return protocol.Game(
    pieces=grid.pieces(SYMBOLS),
    actions=grid.ACTIONS,
    begin=lambda index, split, seed: level(index, split),
    reseed=lambda state, seed: state,
    observe=observe,
    step=step,
    key=key,
    state_key=lambda numbers: numbers,
    evidence=EVIDENCE,
  )
