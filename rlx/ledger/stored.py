"""The ledger as it was last saved, beside this file."""

import functools
import json
import pathlib
from typing import Any

HERE = pathlib.Path(__file__).parent
JSON, README = HERE / "ledger.json", HERE / "README.md"


@functools.cache
def ledger() -> dict[str, Any]:
  """Returns what `rlx credit ledger --save` wrote. Nothing is computed."""
  return json.loads(JSON.read_text())


def bias(name: str) -> str:
  """The bias class of a recipe's credit.

  Returns "unbiased", "scaled" or "biased", and "unknown" for a recipe that the
  saved ledger does not have, or whose evidence it knows nothing of.
  """
  for entry in ledger()["entries"]:
    if entry["name"] == name and entry["kind"] == "recipe":
      return entry["credit"]["bias"] if "credit" in entry else "unknown"
  return "unknown"
