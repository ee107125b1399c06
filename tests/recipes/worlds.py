"""Two tiny tasks that give every method what it needs.

In both, of the seven tokens there are, `r` is paid, and whatever a method wants
to know about a step says whether it was `r`.
"""

import dataclasses
from typing import Any

from rlx import config, prompts
from tests import tiny

# What is told of a step: the same for all that a method calls good.
GOOD = (
  *("process", "matched", "grounded", "consistency", "tool", "node"),
  *("information_gain", "sub_answer_gain", "marginal"),
  *("objective/main", "objective/auxiliary"),
)
ALWAYS = {"redundancy": 0.0, "reference_reward/0": 0.5}


class Talk:
  """An episode of `Say` in which everything is told, and anything possible."""

  def __init__(self, turns: int):
    self._turns, self._turn = turns, 0

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed
    self._turn = 0
    return "l", {"state_key": 0}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    right = float(action == "r")
    told = dict.fromkeys(GOOD, right) | ALWAYS | {"role": self._turn % 2}
    self._turn += 1
    info = {"state_key": self._turn, "evidence": told}
    return "l", right, self._turn == self._turns, False, info

  def snapshot(self) -> int:
    return self._turn

  def restore(self, snapshot: int, seed: int) -> None:
    del seed
    self._turn = snapshot

  def expert_action(self) -> str:
    return "r"

  def role(self) -> int:
    return self._turn % 2

  def assess(self, goal: str) -> tuple[bool, float]:
    return goal in tiny.WORDS, float(goal == "r")

  def phase(self, action: str) -> str:
    return "search" if action in tiny.WORDS else "other"

  def hint(self) -> str:
    return "r"


@dataclasses.dataclass(frozen=True)
class Say:
  """Two turns, each paid 1 for `r`."""

  turns: int = 2

  @property
  def evidence(self) -> tuple[str, ...]:
    return (*GOOD, *ALWAYS, "role")

  @property
  def max_turns(self) -> int:
    return self.turns

  def episode(self, index: int, split: str) -> Talk:
    del index, split
    return Talk(self.turns)

  def num_test(self) -> int:
    return 8

  def words(self) -> tuple[str, ...]:
    return tiny.WORDS


def source(*, size: int = 8):
  rows = [{"prompt": tiny.WORDS[i % 2], "hint": "r"} for i in range(size)]
  return {"train": rows, "test": rows}


def rightness(completions, log_extra, **columns) -> list[float]:
  """The share of `r` in two tokens."""
  del columns
  found = [min(c.split().count("r"), 2) / 2 for c in completions]
  for name in GOOD:
    log_extra(name, found)
  for name, value in ALWAYS.items():
    log_extra(name, [value] * len(found))
  return found


WRITE = prompts.PromptTask(
  data=config.spec(source),
  rewards=(rightness,),
  success_above=0.25,
  vocabulary=tiny.WORDS,
)
