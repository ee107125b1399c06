"""Data sets by split, as experiments name them: `spec(gsm8k, directory=...)`."""

from rlx.data import gsm8k as gsm8k_rows
from rlx.data import rows, sources
from rlx.envs import arithmetic as arithmetic_rows

Splits = dict[str, rows.Source]


def arithmetic(
  *,
  digits: int = 2,
  operations: str = "+-",
  size: int = 100_000,
  held_out: int = 512,
  seed: int = 0,
) -> Splits:
  """Problems like `1 2 + 7 =`, made from the seed; held out by a hash.

  Args:
    digits: of the largest operand.
    operations: which of `+`, `-` and `*`.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
  """
  make = lambda split, count: arithmetic_rows.Arithmetic(
    split, digits=digits, operations=operations, size=count, seed=seed
  )
  return {"train": make("train", size), "test": make("test", held_out)}


def gsm8k(
  *,
  directory: str = "data/gsm8k",
  system: str = "",
  instruction: str = "Give the final number after ####.",
) -> Splits:
  """GSM8K from a directory of train.jsonl and test.jsonl, or one of tfds.

  Args:
    directory: where it is.
    system: a system message; none if empty.
    instruction: a line after each question.
  """
  make = lambda split: gsm8k_rows.gsm8k(
    directory, split, system=system, instruction=instruction
  )
  return {"train": make("train"), "test": make("test")}


def json_lines(*, train: str, test: str = "") -> Splits:
  """Rows of JSON-lines files.

  Args:
    train: file to learn from.
    test: file that is held out; the training file if empty.
  """
  source = sources.JsonLines(train)
  return {
    "train": source,
    "test": sources.JsonLines(test) if test else source,
  }
