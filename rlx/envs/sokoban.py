"""Sokoban in small rooms made by playing backwards, read and acted on as text.

    . P . .        P player   B box   T target   # wall   . floor
    . B # .        * box on a target   + player on one
    . . . .
    . T . .        down

The player walks, and pushes a box into a free cell; it never pulls.
"""

import dataclasses
import functools
import hashlib
import random

import numpy as np

from rlx import ranges
from rlx.envs import protocol
from rlx.envs.device import episode, grid, language
from rlx.envs.device import protocol as device
from rlx.envs.device import sokoban as rules

_TEST_SHARE = 8  # One level in so many is held out.
_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
# Where the player and the boxes are.
Place = tuple[int, frozenset[int]]


@dataclasses.dataclass(frozen=True)
class Level:
  """A room: cells as text, `.`, `#` and `T`, and where everything begins."""

  size: int
  cells: str
  player: int
  boxes: frozenset[int]


@dataclasses.dataclass(frozen=True)
class Sokoban:
  """Sokoban in random rooms: pays 1 when every box is on a target.

  A level is made from its index by playing backwards from a solved room, with
  pulls, and can be solved in `depth` moves. Levels are split by a hash of the
  level itself, so that no held-out one is ever trained on.

  Evidence of each step: "process" is 1 where a box came onto a target,
  "grounded" where the action was one of the four words.
  """

  size: int = 5
  """Cells along a side; beyond them is wall."""
  boxes: int = 1
  """Boxes, and targets."""
  walls: float = 0.1
  """Probability that a cell is wall."""
  depth: int = 8
  """Moves played backwards."""
  turns: int = 16
  """Moves an episode may take."""
  held_out: int = 256
  """Number of held-out episodes."""
  box_reward: float = 0.0
  """Paid for a box that comes onto a target, and taken back when it leaves."""
  invalid_penalty: float = 0.1
  """Cost of an action that is not one of the four words."""
  skill: float = 0.6
  """Share of the demonstrations' moves that are optimal; the rest are random."""

  def __post_init__(self):
    if not 3 <= self.size <= 30:
      raise ValueError(f"size={self.size}: must be in 3 to 30")
    if not 1 <= self.boxes <= (self.size**2 - 1) // 4:
      raise ValueError(
        f"boxes={self.boxes}: a room of size {self.size} takes 1 to "
        f"{(self.size**2 - 1) // 4}"
      )
    if not 0 <= self.walls <= 0.5:
      raise ValueError(f"walls={self.walls}: must be in [0, 0.5]")
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")
    if not 2 <= self.depth <= self.turns:
      raise ValueError(
        f"depth={self.depth}: must be in 2 to turns={self.turns}, so that every "
        "level can be solved"
      )
    ranges.at_least(1, held_out=self.held_out)

  @property
  def max_turns(self) -> int:
    return self.turns

  @property
  def evidence(self) -> tuple[str, ...]:
    return rules.EVIDENCE

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return (*rules.SYMBOLS, *grid.ACTIONS)

  def level(self, index: int, split: str) -> Level:
    """Returns level `index` of a split, the same on every machine."""
    shape = (self.size, self.boxes, self.walls, self.depth)
    return _level(
      *shape, index % self.held_out if split == "test" else index, split
    )

  def on_device(self) -> device.Game:
    """Returns the game as pure functions on arrays."""
    return rules.make(
      size=self.size,
      num_boxes=self.boxes,
      box_reward=self.box_reward,
      invalid_penalty=self.invalid_penalty,
      level=lambda index, split: _arrays(self.level(index, split)),
    )

  def episode(self, index: int, split: str) -> protocol.Episode:
    return episode.GameEpisode(self.on_device(), index, split)

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs: `skill` optimal moves, else random."""
    rng = random.Random(f"{seed}/{index}")
    game, level = self.on_device(), self.level(index, "train")
    left = distances(level)
    state, place, pairs = _arrays(level), (level.player, level.boxes), []
    for _ in range(self.turns):
      after = [pushed(level, place, action) for action in range(4)]
      # More than any way there is.
      far = [left.get(there, len(left)) for there in after]
      best = [action for action in range(4) if far[action] == min(far)]
      skilled = rng.random() < self.skill
      action = rng.choice(best) if skilled else rng.randrange(4)
      pairs.append((language.text(game, state), grid.ACTIONS[action]))
      place = after[action]
      if left.get(place) == 0:
        break
      state = _arrays(
        dataclasses.replace(level, player=place[0], boxes=place[1])
      )
    return pairs


@functools.lru_cache(maxsize=65536)
def _level(
  size: int, boxes: int, walls: float, depth: int, index: int, split: str
) -> Level:
  for attempt in range(10_000):
    seed = f"{size} {boxes} {walls} {depth} {index} {attempt}"
    made = _made(size, boxes, walls, depth, random.Random(seed))
    if made is None:
      continue
    text = f"{made.cells} {made.player} {sorted(made.boxes)}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    if (digest[0] % _TEST_SHARE == 0) == (split == "test"):
      return made
  raise ValueError(
    f"size={size}, boxes={boxes}, walls={walls}, depth={depth}: no level was "
    "found; make the rooms larger or the walls fewer"
  )


def _made(
  size: int, boxes: int, walls: float, depth: int, rng: random.Random
) -> Level | None:
  """Plays backwards from a solved room; None where that led nowhere."""
  cells = ["#" if rng.random() < walls else "." for _ in range(size * size)]
  free = [i for i, cell in enumerate(cells) if cell == "."]
  if len(free) < 2 * boxes + 1:
    return None
  *targets, player = rng.sample(free, boxes + 1)
  for target in targets:
    cells[target] = "T"
  level = Level(size, "".join(cells), player, frozenset(targets))
  place, seen = (player, level.boxes), {(player, level.boxes)}
  for _ in range(depth):
    ways = [way for way in _backwards(level, place) if way not in seen]
    if not ways:
      break
    # Pulls make the level, walks only lead to them.
    pulls = [way for way in ways if way[1] != place[1]]
    place = rng.choice(pulls if pulls and rng.random() < 0.8 else ways)
    seen.add(place)
  if place[1] & set(targets):
    return None
  return dataclasses.replace(level, player=place[0], boxes=place[1])


def _beside(level: Level, cell: int, action: int) -> int | None:
  """Returns the next cell that is no wall; None where there is none."""
  row, column = divmod(cell, level.size)
  row, column = row + _MOVES[action][0], column + _MOVES[action][1]
  if not (0 <= row < level.size and 0 <= column < level.size):
    return None
  there = row * level.size + column
  return None if level.cells[there] == "#" else there


def pushed(level: Level, place: Place, action: int) -> Place:
  """Returns where a move leads."""
  player, boxes = place
  ahead = _beside(level, player, action)
  if ahead is None:
    return place
  if ahead not in boxes:
    return ahead, boxes
  beyond = _beside(level, ahead, action)
  if beyond is None or beyond in boxes:
    return place
  return ahead, boxes - {ahead} | {beyond}


def _backwards(level: Level, place: Place) -> list[Place]:
  """Returns the places from which one move leads here."""
  player, boxes = place
  out: list[Place] = []
  for action in range(4):
    before = _beside(level, player, (action + 2) % 4)
    if before is None or before in boxes:
      continue
    out.append((before, boxes))
    ahead = _beside(level, player, action)
    if ahead in boxes and ahead is not None:
      out.append((before, boxes - {ahead} | {player}))
  return out


@functools.lru_cache(maxsize=256)
def distances(level: Level) -> dict[Place, int]:
  """Returns the fewest moves to the end, from all places with a way to it."""
  targets = frozenset(i for i, x in enumerate(level.cells) if x == "T")
  free = [i for i, x in enumerate(level.cells) if x != "#" and i not in targets]
  # The player may also stand on a target that has no box; here all have.
  queue: list[Place] = [(player, targets) for player in free]
  found = dict.fromkeys(queue, 0)
  for place in queue:
    for before in _backwards(level, place):
      if before not in found and before[1] != targets:
        found[before] = found[place] + 1
        queue.append(before)
  return found


@functools.lru_cache(maxsize=65536)
def _arrays(level: Level) -> rules.Room:
  boxes = np.zeros(len(level.cells), bool)
  boxes[sorted(level.boxes)] = True
  cells = np.array([".#T".index(x) for x in level.cells], np.int32)
  return rules.Room(cells, boxes, np.int32(level.player))
