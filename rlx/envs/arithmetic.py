"""Single-turn arithmetic with an exact answer: the smallest verifiable task.

It is a data source of `prompt` and `answer`, made from a seed and an index and
stored nowhere, with words for a scratch tokenizer. Problems are split by a hash
of the problem itself, so that no held-out one is ever trained on.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

Split = Literal["train", "test"]

# The vocabulary of a `WordTokenizer` for spaced rows.
WORDS = (*"0123456789", "+", "-", "*", "=")
_TEST_SHARE = 8  # One problem in so many is held out.


class Arithmetic:
  """A source of problems `a op b =`, each drawn anew from (seed, index).

  Row `i` has `prompt` ("1 2 + 7 ="), `answer` ("1 9", what a model is to write)
  and `completion`, the same, for a warm start. Operands are uniform from 0 to
  10**digits - 1. Rows may repeat one another.
  """

  def __init__(
    self,
    split: Split = "train",
    *,
    digits: int = 2,
    operations: str = "+-*",
    size: int = 100_000,
    seed: int = 0,
    spaced: bool = True,
  ):
    """Describes the source; rows are made when asked for.

    Args:
      split: "train", or "test" for the held-out eighth of all problems.
      digits: of the largest operand.
      operations: which of `+`, `-` and `*`, each as likely.
      size: number of rows.
      seed: of the draws.
      spaced: digits apart, for a vocabulary of `WORDS`; else "12 + 7 =".

    Raises:
      ValueError: an argument is out of range.
    """
    if not operations or not set(operations) <= set("+-*"):
      raise ValueError(f"operations={operations!r} is not a choice of '+-*'")
    if not 1 <= digits <= 18 or size < 1:
      raise ValueError(f"digits={digits} is not in 1 to 18, or size={size} < 1")
    if split not in ("train", "test"):
      raise ValueError(f"split={split!r} is neither 'train' nor 'test'")
    self._split, self._size, self._seed = split, size, seed
    self._digits, self._operations, self._spaced = digits, operations, spaced

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Row `index`; raises IndexError beyond the size."""
    if not -self._size <= index < self._size:
      raise IndexError(f"row {index} of {self._size}")
    draw = 0
    while True:
      problem = self._draw(index % self._size, draw)
      if (_hash(*problem) % _TEST_SHARE == 0) == (self._split == "test"):
        return self._row(*problem)
      draw += 1

  def _draw(self, index: int, draw: int) -> tuple[int, str, int]:
    number = _hash(self._seed, index, draw)
    number, operation = divmod(number, len(self._operations))
    number, a = divmod(number, 10**self._digits)
    return a, self._operations[operation], number % 10**self._digits

  def _row(self, a: int, operation: str, b: int) -> dict[str, Any]:
    value = {"+": a + b, "-": a - b, "*": a * b}[operation]
    write = " ".join if self._spaced else "".join
    answer = write(str(value))
    return {
      "prompt": f"{write(str(a))} {operation} {write(str(b))} =",
      "completion": answer,
      "answer": answer,
    }


def _hash(*parts: object) -> int:
  """A number of 256 bits, the same on every machine and in every version."""
  text = " ".join(map(str, parts))
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=32).digest())


def correct_result(
  completions: Sequence[str], answer: Sequence[str], **columns: Any
) -> list[float]:
  """1 where a completion is the answer, spaces aside, else 0.

  Nothing else is read: the numeric verifier would take the problem itself,
  written out again, for its answer.
  """
  del columns
  return [
    float("".join(c.split()) == "".join(a.split()))
    for c, a in zip(completions, answer, strict=True)
  ]
