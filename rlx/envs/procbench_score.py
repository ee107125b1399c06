"""ProcBench's measures: how far a procedure was followed without a mistake."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple


class Match(NamedTuple):
  """How a sequence of states compares with the true one.

  Attributes:
    prefix: states of the common beginning (PML).
    prefix_accuracy: `prefix / max(len(true), len(written))` (PA).
    sequential: whether the sequences are equal (SM).
    final: whether the last states are (FM).
    ratio: share of the places that agree, the gaps between them included.
  """

  prefix: int
  prefix_accuracy: float
  sequential: bool
  final: bool
  ratio: float


def compare(true: Sequence[Any], written: Sequence[Any]) -> Match:
  """Returns the measures of the states that were written, the last one final.

  Source: Fujisawa et al. 2024, arXiv:2410.03117, section 3; the comparison of
  two states is that of its code.

  Raises:
    ValueError: there is no true state.
  """
  if not true:
    raise ValueError("the true sequence has 0 states: it needs one or more")
  hits = [same(a, b) for a, b in zip(true, written, strict=False)]
  prefix = hits.index(False) if False in hits else len(hits)
  longest = max(len(true), len(written))
  return Match(
    prefix,
    prefix / longest,
    prefix == longest,
    bool(written) and same(true[-1], written[-1]),
    sum(hits) / longest,
  )


def same(true: Any, written: Any) -> bool:
  """Whether a state is the true one, read as the true one's type.

  A number may be written as text, and text of digits as a number; a list is a
  list of equal length, entry by entry. `true` is a str, an int or a list.
  """
  if isinstance(true, list):
    return (
      isinstance(written, list)
      and len(true) == len(written)
      and all(same(a, b) for a, b in zip(true, written, strict=True))
    )
  if isinstance(written, list | dict | float | bool | None):
    return False
  return str(true) == str(written)


def sequence(intermediate: Sequence[Any], final: Any) -> list[Any]:
  """Returns the states in order; a final state that was said twice counts once."""
  if intermediate and same(final, intermediate[-1]):
    intermediate = intermediate[:-1]
  return [*intermediate, final]


def read_answer(text: str) -> list[Any] | None:
  """Returns the states of the last `{"intermediate": [...], "final": ...}`.

  None where there is no such object.
  """
  for start in reversed([m.start() for m in re.finditer(r"\{", text)]):
    try:
      found, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
      continue
    if isinstance(found, dict) and {"intermediate", "final"} <= found.keys():
      middle = found["intermediate"]
      return (
        sequence(middle, found["final"]) if isinstance(middle, list) else None
      )
  return None


def read_state(text: str) -> Any:
  """Returns a state as it was written: JSON, or plain text as it stands.

  None where there is nothing, or what no state can be.
  """
  text = text.strip()
  try:
    found = json.loads(text)
  except (ValueError, RecursionError):
    return text or None
  return text if isinstance(found, float | bool | dict | None) else found


def write(state: Any) -> str:
  """Returns a state as JSON."""
  return json.dumps(state)
