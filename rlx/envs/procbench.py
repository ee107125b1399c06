"""ProcBench: procedures to be followed step by step, every state known.

A problem is a rule, what it is applied to, and the states that it goes through.
`ProcBench` asks for one state a turn, so that each step has its own truth;
`problems`, with the reward functions below, asks for all of them in one answer:

    Apply the operations to the number, one after the other. ...
    Number: 4
    Operations: Add 7, Multiply 4, Multiply 4, Add 6
                                             11
    next                                     44
    next                                     176
    next                                     final 182

Problems are drawn from the split, the index and the seed, and held out by a hash
of the problem. The 23 procedures are those of Fujisawa et al. 2024,
arXiv:2410.03117, in words of our own; sentences are of a small word list. Which
problems are drawn is not the original's.
"""

import dataclasses
import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from rlx import ranges
from rlx.envs import procbench_lists as lists
from rlx.envs import procbench_score as score
from rlx.envs import procbench_strings as strings
from rlx.envs import protocol

PROCEDURES: tuple[Callable[[random.Random, int], strings.Problem], ...] = (
  *(strings.sort, strings.gather, lists.count, lists.search, strings.copy),
  *(strings.substitute, strings.encode, lists.split1, lists.split2),
  *(lists.compose, strings.decompose, strings.rhythm, lists.compare),
  *(lists.count2, strings.decode, strings.push_pop, strings.rotate),
  *(lists.fill_word, strings.delete_char, lists.delete_word, lists.cumulate),
  *(strings.move_cyclic, lists.find_cyclic),
)
_TEST_SHARE = 8  # One problem in so many is held out.
_HOW = (
  "Write the state after each step, one a turn, as JSON. Put the word final "
  "before the last one."
)
_WHOLE = (
  'Answer with a JSON object {"intermediate": [...], "final": ...}: the states '
  "in their order, without the first one, and the last one."
)


@dataclasses.dataclass(frozen=True)
class ProcBench:
  """A state a turn; `final STATE` ends the episode.

  A state that continues the common beginning with the truth pays 1 / number of
  true states; at the end, what was paid is made up to the prefix accuracy.
  Evidence: "process" is 1 for such a state, "grounded" where one could be read.
  """

  procedures: tuple[str, ...] = ()
  """Names, as "sort"; () for all 23."""
  shortest: int = 2
  """Steps of a problem, at least."""
  longest: int = 6
  """Steps of a problem, at most; 2 to 6 are short, 7 to 16 medium, 17 to 25 long."""
  held_out: int = 256
  """Number of test problems."""
  seed: int = 0
  """Of the draws."""
  skill: float = 0.8
  """Share of the demonstrations' states that are right."""

  evidence = ("process", "grounded")

  def __post_init__(self):
    _check(self.procedures, self.shortest, self.longest, self.held_out)
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")

  @property
  def max_turns(self) -> int:
    return self.longest + 2

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return ()

  def problem(self, index: int, split: str) -> strings.Problem:
    """Returns problem `index` of a split."""
    steps = range(self.shortest, self.longest + 1)
    return draw(self.procedures, steps, index, split, self.seed)

  def episode(self, index: int, split: str) -> "ProcBenchEpisode":
    return ProcBenchEpisode(self.problem(index, split), self.max_turns)

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of who repeats a state at times."""
    rng = random.Random(f"{seed}/{index}")
    episode, pairs = self.episode(index, "train"), []
    shown, _ = episode.reset(seed)
    states = [episode.problem.initial, *episode.problem.states]
    for before, state in itertools.pairwise(states):
      written = state if rng.random() < self.skill else before
      last = "final " * (len(pairs) + 2 == len(states))
      pairs.append((shown, last + score.write(written)))
      shown, *_ = episode.step(pairs[-1][1])
    return pairs


class ProcBenchEpisode:
  """One problem, being worked on."""

  def __init__(self, problem: strings.Problem, turns: int):
    self.problem, self._turns = problem, turns
    # What was written, and what was paid for it.
    self._written: tuple[Any, ...] = ()
    self._paid = 0.0

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The index says everything.
    self._written, self._paid = (), 0.0
    shown = f"{self.problem.rule} {_HOW}\n{self.problem.given}"
    return shown, {"state_key": ()}

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    word, _, rest = action.strip().partition(" ")
    ended = word.lower().rstrip(":") == "final"
    state = score.read_state(rest if ended else action)
    before = self._match().prefix
    self._written = (*self._written, state)
    match = self._match()
    process = float(match.prefix > before)
    over = not ended and len(self._written) >= self._turns
    due = match.prefix / len(self.problem.states)
    if ended or over:
      due = match.prefix_accuracy
    reward, self._paid = due - self._paid, due
    info = {
      # What was written decides the rest, right or wrong.
      "state_key": tuple(map(score.write, self._written)),
      "evidence": {"process": process, "grounded": float(state is not None)},
      "parse_error": state is None,
    }
    if ended or over:
      info["success"] = ended and match.sequential
    return "next", reward, ended, over, info

  def snapshot(self) -> Any:
    return self._written, self._paid

  def restore(self, snapshot: Any, seed: int) -> None:
    del seed  # Nothing here is left to chance.
    self._written, self._paid = snapshot

  def expert_action(self) -> str:
    """Returns the next state, of those that were due by now."""
    states = self.problem.states
    at = min(len(self._written), len(states) - 1)
    return "final " * (at + 1 == len(states)) + score.write(states[at])

  def hint(self) -> str:
    """Returns what the expert would write."""
    return self.expert_action()

  def _match(self) -> score.Match:
    return score.compare(self.problem.states, self._written)


def draw(
  procedures: Sequence[str],
  steps: range,
  index: int,
  split: str,
  seed: int,
) -> strings.Problem:
  """Returns a problem: the same one for the same arguments, on any machine.

  Args:
    procedures: names, one of which is drawn; all if empty.
    steps: numbers of steps, one of which is drawn.
    split: "train", or "test" for the problems whose hash holds them out.
  """
  known = {f.__name__: f for f in PROCEDURES}
  functions = [known[name] for name in procedures or known]
  for attempt in itertools.count():
    rng = random.Random(f"procbench {seed} {split} {index} {attempt}")
    problem = rng.choice(functions)(rng, rng.choice(steps))
    if (_hash(problem) % _TEST_SHARE == 0) == (split == "test"):
      return problem
  raise AssertionError  # Counting never ends.


def _hash(problem: strings.Problem) -> int:
  text = f"{problem.rule}\n{problem.given}".encode()
  return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _check(
  procedures: Sequence[str], shortest: int, longest: int, held_out: int
) -> None:
  known = [f.__name__ for f in PROCEDURES]
  for name in procedures:
    if name not in known:
      raise ValueError(f"procedures: no {name!r}; there are {', '.join(known)}")
  if not 2 <= shortest <= longest <= 25:
    raise ValueError(
      f"shortest={shortest}, longest={longest}: a problem has 2 to 25 steps"
    )
  ranges.at_least(1, held_out=held_out)


class _Problems:
  """Rows of one split, made when asked for."""

  def __init__(self, split, size, procedures, steps, seed):
    self._split, self._size = split, size
    self._drawn = (procedures, steps, seed)

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < self._size:
      raise IndexError(f"row {index} of {self._size}")
    procedures, steps, seed = self._drawn
    problem = draw(procedures, steps, index, self._split, seed)
    *middle, final = problem.states
    return {
      "prompt": f"{problem.rule} {_WHOLE}\n{problem.given}",
      "completion": score.write({"intermediate": middle, "final": final}),
      "states": problem.states,
    }


def problems(
  *,
  procedures: tuple[str, ...] = (),
  shortest: int = 2,
  longest: int = 6,
  size: int = 100_000,
  held_out: int = 256,
  seed: int = 0,
) -> dict[str, Any]:
  """Rows by split: `prompt`, `completion`, and `states`, the truth.

  Args:
    procedures: names, as "sort"; () for all 23.
    shortest: steps of a problem, at least.
    longest: steps of a problem, at most.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
  """
  _check(procedures, shortest, longest, held_out)
  steps = range(shortest, longest + 1)
  make = lambda split, num: _Problems(split, num, procedures, steps, seed)
  return {"train": make("train", size), "test": make("test", held_out)}


def prefix_accuracy(
  completions: Sequence[str], states: Sequence[Any], **columns: Any
) -> list[float]:
  """PA of each answer: the share of states before the first mistake."""
  del columns
  return [
    score.compare(true, score.read_answer(text) or []).prefix_accuracy
    for text, true in zip(completions, states, strict=True)
  ]


def sequential_match(
  completions: Sequence[str], states: Sequence[Any], **columns: Any
) -> list[float]:
  """SM of each answer: 1 where every state is right, else 0."""
  del columns
  return [
    float(score.compare(true, score.read_answer(text) or []).sequential)
    for text, true in zip(completions, states, strict=True)
  ]


def final_match(
  completions: Sequence[str], states: Sequence[Any], **columns: Any
) -> list[float]:
  """FM of each answer: 1 where the last state is right, else 0."""
  del columns
  return [
    float(score.compare(true, score.read_answer(text) or []).final)
    for text, true in zip(completions, states, strict=True)
  ]
