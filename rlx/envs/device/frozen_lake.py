"""FrozenLake on arrays: the game of `rlx.envs.frozen_lake`, draw for draw.

Moves, holes and slips are Gymnasium's: in `step` a slippery move goes one of
three ways, the first whose cumulated probability exceeds the generator's next
number. The numbers are drawn beforehand, from the generator that its `reset`
makes of the seed; a text that is no action takes none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rlx.envs.device import grid, protocol

# Cells that are not the player's, then with the player on them.
ICE, HOLE, GOAL = 0, 1, 2
_SYMBOLS = (".", "O", "G", "A", "X", "A")
# Gymnasium's probabilities of going to one side, ahead, and to the other.
_AHEAD = 1.0 / 3.0
_ASIDE = (1.0 - _AHEAD) / 2.0


class Lake(NamedTuple):
  """The state.

  Attributes:
    cells: int32 [size * size], `ICE`, `HOLE` or `GOAL`.
    distance: int32 [size * size], moves to the goal; size * size where there is
      no way.
    cell: int32 [], the player's.
    slips: int32 [turns], which way each move goes: 0, 1 (ahead) or 2.
    moves: int32 [], moves made.
  """

  cells: Any
  distance: Any
  cell: Any
  slips: Any
  moves: Any


def make(
  *,
  size: int,
  turns: int,
  slippery: bool,
  invalid_penalty: float,
  evidence: tuple[str, ...],
  lake: Callable[[int, str], tuple[np.ndarray, np.ndarray]],
) -> protocol.Game:
  """Returns the game.

  Args:
    evidence: names of process, matched and grounded.
    lake: `(index, split) -> (cells, distance)`, see `Lake`.
  """
  first = grid.first(size, len(_SYMBOLS))
  number = np.arange(size * size, dtype=np.int32)

  def begin(index, split, seed):
    cells, distance = lake(index, split)
    zero = np.zeros((), np.int32)
    slips = _slips(seed, turns, first=1, slippery=slippery)
    return Lake(cells, distance, zero, slips, zero)

  def reseed(state, seed):
    slips = _slips(seed, turns, first=0, slippery=slippery)
    return state._replace(slips=slips, moves=np.zeros((), np.int32))

  def observe(state, xp):
    here = number == state.cell
    return first + state.cells + 3 * xp.where(here, 1, 0).astype(np.int32)

  def step(state, action, xp):
    readable = action >= 0
    action = xp.maximum(action, 0)
    slip = state.slips[xp.minimum(state.moves, turns - 1)]
    gone = grid.moved(state.cell, (action + slip + 3) % 4, size, xp)
    over = state.cells[state.cell] != ICE
    cell = xp.where(readable & ~over, gone, state.cell).astype(np.int32)
    found = state.cells[cell]
    terminated = readable & (found != ICE)
    near = state.distance[grid.moved(state.cell, xp.arange(4), size, xp)]
    reward = xp.where(
      readable,
      xp.where((found == GOAL) & ~over, 1.0, 0.0),
      -invalid_penalty,
    )
    told = xp.stack(
      [
        state.distance[cell] < state.distance[state.cell],
        readable & (near[action] == xp.min(near)),
        readable,
      ]
    )
    return protocol.Stepped(
      state=state._replace(
        cell=cell, moves=(state.moves + readable).astype(np.int32)
      ),
      reward=reward.astype(np.float32),
      terminated=terminated,
      truncated=xp.zeros((), bool),
      success=xp.where(
        terminated, (reward > 0).astype(np.int32), protocol.UNSAID
      ),
      parse_error=~readable,
      evidence=told.astype(np.float32),
    )

  return protocol.Game(
    pieces=grid.pieces(_SYMBOLS),
    actions=grid.ACTIONS,
    begin=begin,
    reseed=reseed,
    observe=observe,
    step=step,
    key=lambda state, xp: state.cell[None],
    state_key=lambda numbers: f"cell {numbers[0]}",
    evidence=evidence,
  )


def _slips(seed: int, turns: int, *, first: int, slippery: bool) -> np.ndarray:
  """Returns which of three ways each move goes, as Gymnasium draws it.

  Args:
    first: numbers that its generator has given before the first move.
  """
  if not slippery:
    return np.ones(turns, np.int32)
  # Gymnasium's own `np_random` is this generator.
  drawn = np.random.default_rng(seed).random(first + turns)[first:]
  ways = np.cumsum([_ASIDE, _AHEAD, _ASIDE])
  return np.argmax(ways[None] > drawn[:, None], axis=1).astype(np.int32)
