"""StepGame: where is one letter, seen from another, over several hops?

A story places letters relative to one another, its sentences shuffled and mixed
with noise; the question takes a chain of them. Everything is solved exactly, by
coordinates, so every step has its truth. `StepGame` lets the policy place one
letter a turn and then answer; `problems` asks for the answer alone:

    A is to the right of B. C lies below A. Where is C, seen from B?
                                             place A 1 0
    ok                                       place C 1 -1
    ok                                       answer lower-right

After Shi, Zhang and Lipani 2022, arXiv:2204.08292. The sentences are ours: at
least nine of the 214 of its code still say something else than they should.
Which stories are drawn is not the original's either.
"""

import dataclasses
import hashlib
import itertools
import random
import re
from collections.abc import Sequence
from typing import Any, Literal

from rlx import ranges
from rlx.envs import protocol
from rlx.envs import stepgame_story as stories

NOISE = ("irrelevant", "disconnected", "supporting")
_TEST_SHARE = 8  # One story in so many is held out.
_WAYS = ", ".join(stories.RELATIONS)
_ANSWER = f"Answer with one of {_WAYS}."
_HOW = (
  "Work it out: `place LETTER X Y` says where a letter lies, x to the right and "
  f"y upwards, if the letter you look from is at 0 0. Then `answer WAY`, one of "
  f"{_WAYS}."
)

_WHAT = "what? place LETTER X Y, or answer WAY"


@dataclasses.dataclass(frozen=True)
class StepGame:
  """One letter is placed a turn, `answer WAY` ends the episode and is paid 1 or 0.

  Evidence: "process" is 1 for the first right place of a letter of the chain
  and for the right answer, "grounded" is 1 where the letter is in the story.
  """

  hops: int = 3
  """Facts that the question takes."""
  noise: int = 2
  """Other facts of the story."""
  kinds: tuple[Literal["irrelevant", "disconnected", "supporting"], ...] = NOISE
  """What noise there is."""
  process_reward: float = 0.0
  """Paid for each right place of a letter of the chain."""
  held_out: int = 256
  """Number of test stories."""
  seed: int = 0
  """Of the draws."""
  skill: float = 0.8
  """Share of the demonstrations' actions that are right."""

  evidence = ("process", "grounded")

  def __post_init__(self):
    _check(self.hops, self.noise, self.kinds, self.held_out)
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")

  @property
  def max_turns(self) -> int:
    return self.hops + 3

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return ()

  def story(self, index: int, split: str) -> stories.Story:
    """Returns story `index` of a split."""
    return draw(self.hops, self.noise, self.kinds, index, split, self.seed)

  def episode(self, index: int, split: str) -> "StepGameEpisode":
    story = self.story(index, split)
    return StepGameEpisode(story, self.process_reward, self.max_turns)

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of who names a wrong place at times."""
    rng = random.Random(f"{seed}/{index}")
    episode, pairs = self.episode(index, "train"), []
    shown, _ = episode.reset(seed)
    for name in (*episode.story.path[1:], None):
      right = rng.random() < self.skill
      if name is None:
        way = (
          episode.story.answer if right else rng.choice([*stories.RELATIONS])
        )
        pairs.append((shown, f"answer {way}"))
        return pairs
      x, y = episode.story.places[name]
      x, y = (x, y) if right else (x + rng.choice((-1, 1)), y)
      pairs.append((shown, f"place {name} {x} {y}"))
      shown, *_ = episode.step(pairs[-1][1])
    return pairs


class StepGameEpisode:
  """One story, being worked out."""

  def __init__(self, story: stories.Story, process_reward: float, turns: int):
    self.story = story
    self._process_reward, self._turns = process_reward, turns
    self._turn, self._placed = 0, frozenset[tuple[str, stories.Point]]()

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The index says everything.
    self._turn, self._placed = 0, frozenset()
    return f"{_HOW}\n{self.story.text()}", {"state_key": self._placed}

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    self._turn += 1
    verb, *said = action.split() or [""]
    over = self._turn >= self._turns
    if verb.lower() == "answer":
      right = read_relation(" ".join(said)) == self.story.answer
      return "", float(right), True, False, self._info(right, True, right)
    placed = _read_place(verb, said)
    if placed is None:
      info = {**self._info(False, False), "parse_error": True}
      return _WHAT, 0.0, False, over, info
    name, point = placed
    on_chain = name in self.story.path[1:] and placed not in self._placed
    right = on_chain and self.story.places[name] == point
    self._placed |= {placed}
    told = any(name in (fact.a, fact.b) for fact in self.story.facts)
    reward = self._process_reward * right
    return "ok", reward, False, over, self._info(right, told)

  def _info(self, process, grounded, success: bool = False) -> protocol.Info:
    return {
      "state_key": self._placed,
      "evidence": {"process": float(process), "grounded": float(grounded)},
      "success": success,
    }

  def snapshot(self) -> Any:
    return self._turn, self._placed

  def restore(self, snapshot: Any, seed: int) -> None:
    del seed  # Nothing here is left to chance.
    self._turn, self._placed = snapshot

  def expert_action(self) -> str:
    """Returns the next place of the chain, or the answer."""
    for name in self.story.path[1:]:
      if (name, self.story.places[name]) not in self._placed:
        x, y = self.story.places[name]
        return f"place {name} {x} {y}"
    return f"answer {self.story.answer}"

  def hint(self) -> str:
    """Returns what the expert would do."""
    return self.expert_action()


def _read_place(verb: str, said: list[str]) -> tuple[str, stories.Point] | None:
  if verb.lower() != "place" or len(said) != 3 or len(said[0]) != 1:
    return None
  if not all(re.fullmatch(r"-?\d{1,3}", x) for x in said[1:]):
    return None
  return said[0].upper(), (int(said[1]), int(said[2]))


def read_relation(text: str) -> str | None:
  """Returns the last of the nine ways that a text names, or None."""
  # The long names first: "left" is part of "upper-left".
  names = sorted(stories.RELATIONS, key=len, reverse=True)
  either = "|".join(name.replace("-", "[- ]") for name in names)
  found = re.findall(rf"\b(?:{either})\b", text.lower())
  return found[-1].replace(" ", "-") if found else None


def draw(
  hops: int,
  noise: int,
  kinds: Sequence[str],
  index: int,
  split: str,
  seed: int,
) -> stories.Story:
  """Returns a story: the same one for the same arguments, on any machine.

  Args:
    split: "train", or "test" for the stories whose hash holds them out.
  """
  for attempt in itertools.count():
    rng = random.Random(f"stepgame {seed} {split} {index} {attempt}")
    story = stories.story(rng, hops, noise, kinds)
    text = " ".join([*sorted(story.sentences), *story.asked]).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
    if (number % _TEST_SHARE == 0) == (split == "test"):
      return story
  raise AssertionError  # Counting never ends.


def _check(hops: int, noise: int, kinds: Sequence[str], held_out: int) -> None:
  if hops < 1 or noise < 0 or hops + 1 + 2 * noise > 26:
    raise ValueError(
      f"hops={hops}, noise={noise}: one hop or more, and hops + 1 + 2 * noise "
      "must not be more than the 26 letters"
    )
  if not kinds or not {*kinds} <= {*NOISE}:
    raise ValueError(f"kinds={kinds}: must be some of {', '.join(NOISE)}")
  ranges.at_least(1, held_out=held_out)


class _Problems:
  """Rows of one split, made when asked for."""

  def __init__(self, task: StepGame, split: str, size: int):
    self._task, self._split, self._size = task, split, size

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < self._size:
      raise IndexError(f"row {index} of {self._size}")
    story = self._task.story(index, self._split)
    return {
      "prompt": f"{story.text()} {_ANSWER}",
      "completion": story.answer,
      "answer": story.answer,
    }


def problems(
  *,
  hops: int = 3,
  noise: int = 2,
  size: int = 100_000,
  held_out: int = 256,
  seed: int = 0,
) -> dict[str, Any]:
  """Rows by split: `prompt` and `answer`, one of the nine ways.

  Args:
    hops: facts that the question takes.
    noise: other facts of the story.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
  """
  task = StepGame(hops=hops, noise=noise, held_out=held_out, seed=seed)
  return {
    "train": _Problems(task, "train", size),
    "test": _Problems(task, "test", held_out),
  }


def correct_relation(
  completions: Sequence[str], answer: Sequence[str], **columns: Any
) -> list[float]:
  """1 where the last way that a completion names is the answer, else 0."""
  del columns
  return [
    float(read_relation(text) == right)
    for text, right in zip(completions, answer, strict=True)
  ]
