"""Sums and differences too long for the head, and how Python does them."""

import json

from rlx.data import rows, splits
from rlx.tools import hermes


def _shown(row: rows.Row) -> rows.Row:
  """The row with `actions`: Python is asked, then what it said is the answer."""
  code = "".join(row["prompt"].split()).removesuffix("=")
  call = json.dumps({"name": "python", "arguments": {"code": code}})
  actions = [hermes.OPEN + call + hermes.CLOSE, row["answer"]]
  return {**row, "actions": actions}


def problems(
  *,
  digits: int = 6,
  operations: str = "+-",
  size: int = 100_000,
  held_out: int = 512,
  seed: int = 0,
) -> splits.Splits:
  """`splits.arithmetic` with demonstrations of the Python tool.

  Args:
    digits: of the largest operand.
    operations: which of `+`, `-` and `*`.
    size: rows of the training split.
    held_out: rows of the test split.
    seed: of the draws.
  """
  found = splits.arithmetic(
    digits=digits,
    operations=operations,
    size=size,
    held_out=held_out,
    seed=seed,
  )
  return {
    split: rows.map_rows(_shown, source) for split, source in found.items()
  }
