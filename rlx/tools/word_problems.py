"""Word problems for a policy with a calculator, in a few words of a vocabulary.

    tom has 1 2 gets 7 loses 3 how many      CALL 1 2 + 7 - 3 DONE
    1 6                                      1 6

CALL and DONE are one word each, of what a tool call is written with, so that the
smallest model made from scratch can use a tool.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from rlx.data import rows
from rlx.tools import calculator
from rlx.tools import tool as tools

CALL = '<tool_call>{"name":"calculate","arguments":{"expression":"'
DONE = '"}}</tool_call>'
_PEOPLE = ("tom", "ann", "bob", "eve")
_CHANGES = {"gets": "+", "finds": "+", "loses": "-", "gives": "-"}
# The vocabulary of a scratch tokeniser.
WORDS = (
  *"0123456789",
  *("+", "-", CALL, DONE, "error", "has", "how", "many"),
  *_PEOPLE,
  *_CHANGES,
)
_TEST_SHARE = 8  # One problem in so many is held out.


def calculate(expression: str) -> str:
  """Works out sums and differences.

  Args:
    expression: of numbers, + and -; spaces between digits do not count.
  """
  return calculator.calculate("".join(expression.split()))


def respond(results: Sequence[tools.Result]) -> str:
  """Results in words of the vocabulary: digits apart, or `error`."""
  return " ".join(
    "error" if r.error or set(r.text) - {*"0123456789-"} else " ".join(r.text)
    for r in results
  )


class WordProblems:
  """A source of problems, each drawn anew from (seed, index).

  Row `i` has `prompt`, `answer` ("1 6"), and `actions`: the turns of a player
  who writes a wrong digit at times. Problems are split by a hash of their own.
  """

  def __init__(
    self, split: str, *, digits: int, changes: int, skill: float, size: int,
    seed: int,
  ):  # fmt: skip
    if not 1 <= digits <= 9 or changes < 1 or size < 1 or not 0 <= skill <= 1:
      raise ValueError(
        f"{digits=} must be 1 to 9, {changes=} and {size=} 1 or more, "
        f"{skill=} in [0, 1]"
      )
    self._split, self._digits, self._changes = split, digits, changes
    self._skill, self._size, self._seed = skill, size, seed

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Row `index`; raises IndexError beyond the size."""
    if not -self._size <= index < self._size:
      raise IndexError(f"row {index} of {self._size}")
    rng = random.Random(f"{self._seed} {self._split} {index % self._size}")
    while True:
      number = lambda: rng.randrange(10**self._digits)
      first = (rng.choice(_PEOPLE), number())
      rest = [
        (rng.choice([*_CHANGES]), number())
        for _ in range(rng.randint(1, self._changes))
      ]
      if _is_test(first, rest) == (self._split == "test"):
        return self._row(first, rest, rng)

  def _row(self, first, rest, rng: random.Random) -> dict[str, Any]:
    words = [first[0], "has", *str(first[1])]
    expression = [*str(first[1])]
    value = first[1]
    for verb, number in rest:
      sign = _CHANGES[verb]
      words += [verb, *str(number)]
      expression += [sign, *str(number)]
      value += number if sign == "+" else -number
    if rng.random() >= self._skill:
      at = [i for i, x in enumerate(expression) if x.isdigit()]
      expression[rng.choice(at)] = str(rng.randrange(10))
    told = calculate(" ".join(expression))
    return {
      "prompt": " ".join([*words, "how", "many"]),
      "answer": " ".join(str(value)),
      "actions": [" ".join([CALL, *expression, DONE]), " ".join(told)],
    }


def _is_test(*problem: object) -> bool:
  digest = hashlib.blake2b(repr(problem).encode(), digest_size=8).digest()
  return int.from_bytes(digest) % _TEST_SHARE == 0


def problems(
  *,
  digits: int = 2,
  changes: int = 2,
  skill: float = 0.7,
  size: int = 20_000,
  held_out: int = 256,
  seed: int = 0,
) -> dict[str, rows.Source]:
  """Word problems by split, as `task.data` of a `ToolTask`.

  Args:
    digits: of a number, at most.
    changes: sums and differences in a problem, at most.
    skill: share of the demonstrations without a wrong digit.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
  """
  make = lambda split, count: WordProblems(
    split, digits=digits, changes=changes, skill=skill, size=count, seed=seed
  )
  return {"train": make("train", size), "test": make("test", held_out)}
