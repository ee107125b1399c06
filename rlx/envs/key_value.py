"""A memory over many turns: pairs are put, and asked for later.

    put k3 v1        ok
    put k0 v7        ok
    ask k3           v1
    put k3 v2        ok
    ask k3           v2

It takes no skill but to keep what was said, however long ago: the execution of
a plan that is given (as of Sinha et al. 2025, arXiv:2509.09677), apart from
planning.
"""

import dataclasses
import functools
import random

import numpy as np

from rlx import ranges
from rlx.envs import protocol
from rlx.envs.device import episode
from rlx.envs.device import key_value as rules
from rlx.envs.device import protocol as device


@dataclasses.dataclass(frozen=True)
class KeyValue:
  """Keys are given values, which are asked for: pays 1 for all right answers.

  Each right answer to a question pays its share. What is put is answered `ok`,
  which pays nothing; another word costs nothing, and what is no word of the game
  costs `invalid_penalty`. A key may be put again, and the latest value counts.
  An episode is a success where every question was answered rightly.

  Evidence of each step: "process" is 1 for the right answer, `ok` included,
  "grounded" for one that could be read.
  """

  keys: int = 4
  """Different keys."""
  values: int = 4
  """Different values."""
  turns: int = 12
  """Turns of an episode; the first puts, the last asks."""
  asks: float = 0.5
  """Share of questions among the other turns."""
  held_out: int = 256
  """Number of held-out episodes."""
  invalid_penalty: float = 0.1
  """Cost of an answer that is no word of the game."""
  skill: float = 0.6
  """Share of the demonstrations' answers that are right; the rest are random."""

  def __post_init__(self):
    ranges.at_least(1, keys=self.keys)
    ranges.at_least(2, values=self.values, turns=self.turns)
    for name in ("asks", "skill"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name}={getattr(self, name)}: must be in [0, 1]")
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
    keys = (f"k{i}" for i in range(self.keys))
    values = (f"v{i}" for i in range(self.values))
    return ("put", "ask", rules.OK, *keys, *values)

  def on_device(self) -> device.Game:
    """Returns the game as pure functions on arrays."""
    shape = (self.keys, self.values, self.turns, self.asks)
    return rules.make(
      num_keys=self.keys,
      num_values=self.values,
      turns=self.turns,
      invalid_penalty=self.invalid_penalty,
      script=lambda index, split: _script(*shape, index, split),
    )

  def episode(self, index: int, split: str) -> protocol.Episode:
    return episode.GameEpisode(self.on_device(), index, split)

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, answer) pairs: `skill` right ones, else random."""
    rng = random.Random(f"{seed}/{index}")
    played, pairs = self.episode(index, "train"), []
    shown, _ = played.reset(seed)
    said: dict[str, str] = {}
    while len(pairs) < self.turns:
      kind, key, *value = shown.split()
      said |= dict.fromkeys([key], value[0]) if kind == "put" else {}
      answer = rules.OK if kind == "put" else said[key]
      if rng.random() >= self.skill:
        answer = rng.choice((rules.OK, *(f"v{i}" for i in range(self.values))))
      pairs.append((shown, answer))
      shown = played.step(answer)[0]
    return pairs


@functools.lru_cache(maxsize=65536)
def _script(
  keys: int, values: int, turns: int, asks: float, index: int, split: str
) -> rules.Talk:
  rng = random.Random(f"{keys} {values} {turns} {asks} {split} {index}")
  known: dict[int, int] = {}
  lines = []
  for turn in range(turns):
    question = turn == turns - 1 or (turn > 0 and rng.random() < asks)
    if question:
      key = rng.choice(sorted(known))
    else:
      key = rng.randrange(keys)
      known[key] = rng.randrange(values)
    lines.append((question, key, known[key]))
  questions, about, value = zip(*lines, strict=True)
  zero = np.zeros((), np.int32)
  return rules.Talk(
    asks=np.array(questions, bool),
    keys=np.array(about, np.int32),
    values=np.array(value, np.int32),
    turn=zero,
    right=zero,
  )
