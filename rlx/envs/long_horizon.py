"""Long-horizon execution: a running sum over as many turns as one likes.

Nothing is to be planned and nothing to be known: a dictionary gives each word a
number, each turn names words, and the answer is the sum of all numbers so far.
So each turn has its truth, and what fails is execution alone:

    tiger = 5, chair = -3, ... Add up: tiger
                                             <answer>5</answer>
    chair                                    <answer>2</answer>

`LongHorizon` is the environment; `probes` are conversations whose history has
wrong answers put into it, to see whether errors breed errors. After Sinha et
al. 2025, arXiv:2509.09677; the words and the draws are ours.
"""

import dataclasses
import hashlib
import random
import re
from collections.abc import Sequence
from typing import Any, Literal

from rlx.envs import long_horizon_score as score
from rlx.envs import protocol

_WORDS = (
  "tiger chair apple river stone bread cloud plant horse light table grass "
  "house snake paper train spoon glass beach ocean storm candy dream eagle "
  "flame ghost heart ivory jelly knife lemon mango night olive piano queen "
  "radio sheep tower uncle video wheat youth zebra amber basin cabin daisy "
  "earth fruit giant honey igloo jewel koala lunar metal nurse onion pearl "
  "quilt robin sugar tooth urban vapor whale yacht angel brick camel diver "
  "elbow flute grape hotel index judge kneel lever maple novel orbit panda "
  "quest rifle salad tulip ulcer vault wagon yeast arrow badge coral dozen "
  "ember fancy glove hinge"
)
WORDS = tuple(_WORDS.split())
_NUMBER = re.compile(r"[+-]?\d{1,9}")
_ANSWER = re.compile(r"<answer>\s*([^<]*?)\s*</answer>", re.I)


@dataclasses.dataclass(frozen=True)
class LongHorizon:
  """A running sum; each turn names `keys` words and asks for the sum so far.

  Each turn is paid 1 / `turns` where it is right, in the sense of `pay`.
  Evidence: "process" is 1 where the step from the policy's own last sum is
  right, "correct" where the sum is, "prefix" where all sums so far were. An
  answer is `<answer>N</answer>`, or a number alone.
  """

  turns: int = 10
  """Turns of an episode."""
  keys: int = 1
  """Words in a turn."""
  entries: int = 20
  """Words in the dictionary, up to 100."""
  largest: int = 99
  """Numbers are between minus this and this."""
  pay: Literal["correct", "prefix", "process"] = "correct"
  """Which evidence is the reward."""
  held_out: int = 256
  """Number of test episodes."""
  seed: int = 0
  """Of the draws."""
  skill: float = 0.9
  """Share of the demonstrations' turns that are right."""

  evidence = ("process", "correct", "prefix")

  def __post_init__(self):
    if min(self.turns, self.keys, self.largest, self.held_out) < 1:
      raise ValueError(
        f"turns={self.turns}, keys={self.keys}, largest={self.largest}, "
        f"held_out={self.held_out}: each must be 1 or more"
      )
    if not 1 <= self.entries <= len(WORDS):
      raise ValueError(
        f"entries={self.entries}: must be between 1 and {len(WORDS)}"
      )
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return ()

  def execution(self, index: int, split: str) -> "Execution":
    """Returns dictionary and keys of episode `index`.

    The dictionary differs between splits and episodes, so that none is learnt
    by heart.
    """
    said = f"execution {self.seed} {split} {index}".encode()
    rng = random.Random(hashlib.blake2b(said).digest())
    names = rng.sample(WORDS, self.entries)
    table = {x: rng.randint(-self.largest, self.largest) for x in names}
    asked = [
      tuple(rng.choice(names) for _ in range(self.keys))
      for _ in range(self.turns)
    ]
    return Execution(table, tuple(asked))

  def episode(self, index: int, split: str) -> "LongHorizonEpisode":
    return LongHorizonEpisode(self.execution(index, split), self.pay)

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of who is off by one at times."""
    rng = random.Random(f"{seed}/{index}")
    episode, pairs, said = self.episode(index, "train"), [], 0
    shown, _ = episode.reset(seed)
    for value in episode.execution.values():
      off = 0 if rng.random() < self.skill else rng.choice((-1, 1))
      said += value + off
      pairs.append((shown, f"<answer>{said}</answer>"))
      shown, *_ = episode.step(pairs[-1][1])
    return pairs


@dataclasses.dataclass(frozen=True)
class Execution:
  """What is to be executed."""

  table: dict[str, int]
  """The number of each word."""
  asked: tuple[tuple[str, ...], ...]
  """The words of each turn."""

  def values(self) -> list[int]:
    """Returns what each turn adds."""
    return [sum(self.table[word] for word in words) for words in self.asked]

  def shown(self, turn: int) -> str:
    """Returns what is said before a turn."""
    words = " ".join(self.asked[turn])
    if turn:
      return words
    entries = ", ".join(f"{word} = {n}" for word, n in self.table.items())
    return (
      f"{entries}. Each turn names words: add their numbers to the sum so far, "
      "which begins with 0, and write it as <answer>SUM</answer>.\n" + words
    )


@dataclasses.dataclass(frozen=True)
class _State:
  """Where an execution stands."""

  turn: int = 0
  sums: score.Sums = score.Sums()


class LongHorizonEpisode:
  """One execution."""

  def __init__(self, execution: Execution, pay: str):
    self.execution, self._pay = execution, pay
    self._values = execution.values()
    self._state = _State()

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The index says everything.
    self._state = _State()
    return self.execution.shown(0), {"state_key": (0, 0)}

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    found, last = read_sum(action), self._state
    sums, right = last.sums.add(self._values[last.turn], found)
    self._state = _State(last.turn + 1, sums)
    now = {
      "process": float(right.turn),
      "correct": float(right.index),
      "prefix": float(right.prefix),
    }
    done = self._state.turn == len(self._values)
    info = {
      # What is due from here depends on the turn and the policy's own sum.
      "state_key": (self._state.turn, sums.said),
      "evidence": now,
      "parse_error": found is None,
      "success": done and sums.held,
    }
    shown = "" if done else self.execution.shown(self._state.turn)
    return shown, now[self._pay] / len(self._values), done, False, info

  def snapshot(self) -> _State:
    return self._state

  def restore(self, snapshot: _State, seed: int) -> None:
    del seed  # Nothing here is left to chance.
    self._state = snapshot

  def expert_action(self) -> str:
    """Returns the true sum."""
    due = self._state.sums.true + self._values[self._state.turn]
    return f"<answer>{due}</answer>"

  def hint(self) -> str:
    """Returns what the expert would write."""
    return self.expert_action()


def read_sum(text: str) -> int | None:
  """Returns the number in the last <answer>, or that the text is, or None."""
  found = _ANSWER.findall(text)
  number = found[-1] if found else text.strip()
  return int(number) if _NUMBER.fullmatch(number) else None


class _Probes:
  """Rows of one split, made when asked for."""

  def __init__(self, task: LongHorizon, split: str, size: int, rate: float):
    self._task, self._split, self._size = task, split, size
    self._rate = rate

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < self._size:
      raise IndexError(f"row {index} of {self._size}")
    execution = self._task.execution(index, self._split)
    rng = random.Random(f"probe {self._task.seed} {self._split} {index}")
    messages, sums, now = [], [], 0
    for turn, value in enumerate(execution.values()):
      now += value
      wrong = rng.random() < self._rate
      error = rng.choice((-1, 1)) * rng.randint(1, self._task.largest)
      sums.append(now + error * wrong)
      messages.append({"role": "user", "content": execution.shown(turn)})
      answer = f"<answer>{sums[-1]}</answer>"
      messages.append({"role": "assistant", "content": answer})
    before = sums[-2] if len(sums) > 1 else 0
    return {
      "prompt": messages[:-1],
      "answer": str(now),
      "answer_from_history": str(before + execution.values()[-1]),
    }


def probes(
  *,
  turns: int = 10,
  keys: int = 1,
  entries: int = 20,
  error_rate: float = 0.0,
  size: int = 10_000,
  held_out: int = 256,
  seed: int = 0,
) -> dict[str, Any]:
  """Rows whose prompt is a conversation in which earlier answers may be wrong.

  `answer` is the true sum, `answer_from_history` what follows from the answer
  before it. Rows of one seed differ between rates in these answers alone.

  Args:
    turns: of the conversation; the last answer is asked for.
    keys: words in a turn.
    entries: words in the dictionary.
    error_rate: probability that an earlier answer is wrong.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
  """
  if not 0 <= error_rate <= 1:
    raise ValueError(f"error_rate={error_rate}: must be in [0, 1]")
  task = LongHorizon(
    turns=turns, keys=keys, entries=entries, held_out=held_out, seed=seed
  )
  return {
    "train": _Probes(task, "train", size, error_rate),
    "test": _Probes(task, "test", held_out, error_rate),
  }


def correct_sum(
  completions: Sequence[Any], answer: Sequence[str], **columns: Any
) -> list[float]:
  """1 where a completion's sum is the column `answer`, else 0."""
  del columns
  texts = [x if isinstance(x, str) else x[-1]["content"] for x in completions]
  return [
    float(read_sum(text) == int(right))
    for text, right in zip(texts, answer, strict=True)
  ]
