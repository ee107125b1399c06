"""A contextual bandit of several turns, read and acted on as text.

    c2             a0
    won c1         a3
    lost c2        a0

The first line is the context, then what the last pull brought and the next one.
"""

import dataclasses
import functools
import random

import numpy as np

from rlx import ranges
from rlx.envs import protocol
from rlx.envs.device import bandit as rules
from rlx.envs.device import episode
from rlx.envs.device import protocol as device


@dataclasses.dataclass(frozen=True)
class Bandit:
  """In each context one arm pays best; a pull that pays is worth 1 / turns.

  Which arm that is, is either the same in all episodes, and can be learnt, or
  drawn for each, and must be found out while it is played. An episode is a
  success where more than half of its pulls were of the best arm.

  What is seen is whether the last pull won or lost, then the context of the next
  one: `won c0` asks for an arm in context c0.

  Evidence of each step: "matched" is 1 for the best arm, "grounded" for an
  action that could be read.
  """

  contexts: int = 4
  """Different contexts."""
  arms: int = 4
  """Arms to pull."""
  turns: int = 8
  """Pulls of an episode."""
  good: float = 0.9
  """Probability that the best arm of a context pays."""
  bad: float = 0.1
  """Probability that another one pays."""
  drawn: bool = False
  """Whether the best arms are drawn for each episode."""
  held_out: int = 256
  """Number of held-out episodes."""
  invalid_penalty: float = 0.1
  """Cost of an action that is no arm."""

  def __post_init__(self):
    ranges.at_least(1, contexts=self.contexts)
    ranges.at_least(2, arms=self.arms)
    ranges.at_least(1, turns=self.turns, held_out=self.held_out)
    if not 0 <= self.bad <= self.good <= 1:
      raise ValueError(
        f"bad={self.bad}, good={self.good}: must be in [0, 1], and bad the "
        "smaller one"
      )

  @property
  def max_turns(self) -> int:
    return self.turns

  @property
  def evidence(self) -> tuple[str, ...]:
    return rules.EVIDENCE

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    contexts = (f"c{i}" for i in range(self.contexts))
    return ("won", "lost", *contexts, *(f"a{i}" for i in range(self.arms)))

  def on_device(self) -> device.Game:
    """Returns the game as pure functions on arrays."""
    shape = (self.contexts, self.arms, self.turns, self.drawn)
    return rules.make(
      num_contexts=self.contexts,
      num_arms=self.arms,
      turns=self.turns,
      good=self.good,
      bad=self.bad,
      invalid_penalty=self.invalid_penalty,
      table=lambda index, split: _table(*shape, index, split),
    )

  def episode(self, index: int, split: str) -> protocol.Episode:
    return episode.GameEpisode(self.on_device(), index, split)


@functools.lru_cache(maxsize=65536)
def _table(
  contexts: int, arms: int, turns: int, drawn: bool, index: int, split: str
) -> tuple[np.ndarray, np.ndarray]:
  rng = random.Random(f"{contexts} {arms} {turns} {split} {index}")
  fixed = random.Random(f"{contexts} {arms}")
  source = rng if drawn else fixed
  best = [source.randrange(arms) for _ in range(contexts)]
  shown = [rng.randrange(contexts) for _ in range(turns)]
  return np.array(best, np.int32), np.array(shown, np.int32)
