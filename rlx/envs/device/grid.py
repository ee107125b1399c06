"""Square grids: how they are shown, and where a move leads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

ACTIONS = ("left", "down", "right", "up")  # Gymnasium's numbering.
_ROWS = np.array([0, 1, 0, -1], np.int32)
_COLUMNS = np.array([-1, 0, 1, 0], np.int32)


def pieces(symbols: Sequence[str]) -> tuple[str, ...]:
  """Returns the pieces of a grid: each symbol in each of four places.

  Piece `place * len(symbols) + symbol` has a space before it where `place` is
  odd, and an end of line after it where it is 2 or 3.
  """
  return tuple(
    f"{' ' * (place % 2)}{symbol}{chr(10) * (place // 2)}"
    for place in range(4)
    for symbol in symbols
  )


def first(size: int, num_symbols: int) -> np.ndarray:
  """Returns the number of each cell's piece with symbol 0, int32 [size**2]."""
  row, column = np.divmod(np.arange(size * size), size)
  place = (column > 0) + 2 * ((column == size - 1) & (row < size - 1))
  return (num_symbols * place).astype(np.int32)


def moved(cell: Any, action: Any, size: int, xp: Any) -> Any:
  """Returns where a move leads; at the edge, to where it began."""
  clip = lambda x: xp.minimum(xp.maximum(x, 0), size - 1)
  row = clip(cell // size + xp.asarray(_ROWS)[action])
  return row * size + clip(cell % size + xp.asarray(_COLUMNS)[action])
