"""Gymnasium's FrozenLake on random maps, read and acted on as text.

The observation is the map, cell by cell from the top left, with the player on
it; the action is a word:

    A . . O          A player   . ice   O hole   G goal
    . O . .
    . . . .          right
    O . . G
"""

import collections
import dataclasses
import functools
import random

import numpy as np

from rlx.envs import gymnasium as adapter
from rlx.envs import protocol
from rlx.envs.device import frozen_lake as device_lake
from rlx.envs.device import protocol as device

ACTIONS = ("left", "down", "right", "up")  # Gymnasium's numbering.
_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
_TRAIN_SEED = 1 << 32


@dataclasses.dataclass(frozen=True)
class FrozenLake:
  """FrozenLake with random maps: reach G, fall into no O.

  Evidence of each step: "matched" is 1 where the action is one of the best, on
  a lake that is not slippery; "process" is 1 where the player came nearer to
  the goal; "grounded" is 1 where the action was one of the four words.

  A map is drawn by Gymnasium's own generator, so the goal can be reached. The
  held-out maps are distinct, and no training map equals one of them.
  """

  size: int = 4
  """Cells along a side."""
  frozen: float = 0.8
  """Probability that a cell is ice."""
  slippery: bool = False
  """Whether a move may slip sideways."""
  turns: int = 12
  """Moves an episode may take."""
  held_out: int = 256
  """Number of maps that are never trained on."""
  invalid_penalty: float = 0.1
  """Cost of an action that is not one of the four words."""
  skill: float = 0.6
  """Share of the demonstrations' moves that are optimal; the rest are random."""

  def __post_init__(self):
    if self.size < 2 or self.turns < 1 or self.held_out < 1:
      raise ValueError(
        f"size={self.size}, turns={self.turns}, held_out={self.held_out}: a lake "
        "needs a size of 2 or more, and at least one turn and one held-out map"
      )
    for name in ("frozen", "skill"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name}={getattr(self, name)}: must be in [0, 1]")

  @property
  def max_turns(self) -> int:
    return self.turns

  @property
  def evidence(self) -> tuple[str, ...]:
    return ("process", "matched", "grounded")

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return ("A", ".", "O", "G", "X", *ACTIONS)

  def map(self, index: int, split: str) -> tuple[str, ...]:
    """Returns the rows of map `index`: S start, F ice, H hole, G goal."""
    test = _test_maps(self.size, self.frozen, self.held_out)
    if split == "test":
      return test[index % len(test)]
    return _train_map(self.size, self.frozen, self.held_out, index)

  def episode(self, index: int, split: str) -> protocol.Episode:
    # Imported here: only those who play need Gymnasium.
    from gymnasium.envs.toy_text import frozen_lake

    env = frozen_lake.FrozenLakeEnv(
      desc=list(self.map(index, split)), is_slippery=self.slippery
    )
    text = adapter.Text(
      observe=_observe, act=_act, state_key=_state_key, evidence=_evidence
    )
    return LakeEpisode(env, text, invalid_penalty=self.invalid_penalty)

  def on_device(self) -> device.Game:
    """Returns the same game as pure functions on arrays."""
    return device_lake.make(
      size=self.size,
      turns=self.turns,
      slippery=self.slippery,
      invalid_penalty=self.invalid_penalty,
      evidence=self.evidence,
      lake=lambda index, split: _arrays(self.map(index, split)),
    )

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs: `skill` optimal moves, else random."""
    rng = random.Random(f"{seed}/{index}")
    lake = self.map(index, "train")
    distance = _distances(lake)
    cell, pairs = (0, 0), []
    for _ in range(self.turns):
      if rng.random() < self.skill:
        best = min(distance.get(_moved(lake, cell, a), 99) for a in range(4))
        move = rng.choice(
          [
            a
            for a in range(4)
            if distance.get(_moved(lake, cell, a), 99) == best
          ]
        )
      else:
        move = rng.randrange(4)
      pairs.append((_draw(lake, cell), ACTIONS[move]))
      cell = _moved(lake, cell, move)
      if lake[cell[0]][cell[1]] in "HG":
        break
    return pairs


class LakeEpisode(adapter.GymnasiumEpisode):
  """An episode in which somebody knows the shortest way."""

  def expert_action(self) -> str:
    """Returns the first of the moves that lead nearest to the goal."""
    lake = _lake(self.env)
    cell = divmod(int(self.observation), len(lake))
    near = _near(lake, cell)
    return ACTIONS[near.index(min(near))]

  def hint(self) -> str:
    """Returns what the expert would do."""
    return self.expert_action()


def _random_map(size: int, frozen: float, seed: int) -> tuple[str, ...]:
  from gymnasium.envs.toy_text import frozen_lake

  return tuple(frozen_lake.generate_random_map(size, frozen, seed))


@functools.lru_cache(maxsize=8)
def _test_maps(
  size: int, frozen: float, count: int
) -> tuple[tuple[str, ...], ...]:
  found: dict[tuple[str, ...], None] = {}
  for seed in range(100 * count):
    found.setdefault(_random_map(size, frozen, seed))
    if len(found) == count:
      return tuple(found)
  raise ValueError(
    f"held_out={count}: lakes of size {size} with frozen={frozen} have only "
    f"{len(found)} distinct maps"
  )


@functools.lru_cache(maxsize=65536)
def _train_map(
  size: int, frozen: float, held_out: int, index: int
) -> tuple[str, ...]:
  test = frozenset(_test_maps(size, frozen, held_out))
  for attempt in range(10_000):
    drawn = _random_map(size, frozen, _TRAIN_SEED + index * 10_007 + attempt)
    if drawn not in test:
      return drawn
  raise ValueError(
    f"held_out={held_out} holds out every lake of size {size} with "
    f"frozen={frozen}: there is none left to train on"
  )


def _moved(lake: tuple[str, ...], cell: tuple[int, int], action: int):
  row, column = (c + m for c, m in zip(cell, _MOVES[action], strict=True))
  last = len(lake) - 1
  return min(max(row, 0), last), min(max(column, 0), last)


@functools.lru_cache(maxsize=65536)
def _distances(lake: tuple[str, ...]) -> dict[tuple[int, int], int]:
  """Returns the number of moves to the goal from each cell that can reach it."""
  goal = next(
    (r, c) for r, row in enumerate(lake) for c, x in enumerate(row) if x == "G"
  )
  distance, queue = {goal: 0}, collections.deque([goal])
  while queue:
    row, column = queue.popleft()
    for step in _MOVES:
      near = (row + step[0], column + step[1])
      inside = all(0 <= i < len(lake) for i in near)
      if inside and near not in distance and lake[near[0]][near[1]] != "H":
        distance[near] = distance[row, column] + 1
        queue.append(near)
  return distance


def _draw(lake: tuple[str, ...], cell: tuple[int, int]) -> str:
  """Returns the map as text, `A` (or `X`, fallen in) where the player is."""
  symbols = {"S": ".", "F": ".", "H": "O", "G": "G"}
  rows = [[symbols[x] for x in row] for row in lake]
  rows[cell[0]][cell[1]] = "X" if lake[cell[0]][cell[1]] == "H" else "A"
  return "\n".join(" ".join(row) for row in rows)


@functools.lru_cache(maxsize=65536)
def _drawn(lake: tuple[str, ...], state: int) -> str:
  return _draw(lake, divmod(state, len(lake)))


def _observe(env, observation) -> str:
  return _drawn(_lake(env), int(observation))


def _state_key(env, observation) -> str:
  # The map is the prompt's, and states are only compared within a prompt.
  del env
  return f"cell {int(observation)}"


def _evidence(env, before, action, after) -> dict[str, float]:
  lake = _lake(env)
  here, there = (divmod(int(cell), len(lake)) for cell in (before, after))
  near = _near(lake, here)
  return {
    "process": float(_to_goal(lake, there) < _to_goal(lake, here)),
    "matched": float(action is not None and near[action] == min(near)),
    "grounded": float(action is not None),
  }


def _lake(env) -> tuple[str, ...]:
  cells = np.asarray(env.desc, "S1")
  return _rows(cells.tobytes().decode(), len(cells))


@functools.lru_cache(maxsize=65536)
def _rows(cells: str, size: int) -> tuple[str, ...]:
  return tuple(cells[i * size : (i + 1) * size] for i in range(size))


@functools.lru_cache(maxsize=65536)
def _near(lake: tuple[str, ...], cell: tuple[int, int]) -> list[int]:
  """Returns the moves to the goal from where each of the four actions leads."""
  return [_to_goal(lake, _moved(lake, cell, move)) for move in range(4)]


def _to_goal(lake: tuple[str, ...], cell: tuple[int, int]) -> int:
  """Returns the number of moves to the goal, or more than there are cells."""
  return _distances(lake).get(cell, len(lake) ** 2)


@functools.lru_cache(maxsize=65536)
def _arrays(lake: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Returns what each cell is, and the moves from it to the goal."""
  cells = ["FHG".find(x) for row in lake for x in row]
  places = [divmod(i, len(lake)) for i in range(len(cells))]
  distance = [_to_goal(lake, place) for place in places]
  return np.maximum(cells, 0).astype(np.int32), np.array(distance, np.int32)


def _act(text: str) -> int | None:
  word = text.strip().lower()
  # No other letter's lower case is taken for one of these.
  return ACTIONS.index(word) if text.isascii() and word in ACTIONS else None
