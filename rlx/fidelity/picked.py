"""What the figure shows of a study."""

from typing import Any

import numpy as np


def shown(found: dict[str, Any]) -> list[dict[str, Any]]:
  """The recipes that have a credit of their own."""
  return [x for x in found["recipes"] if not x["skipped"] and not x["same_as"]]


def records(
  found: dict[str, Any], recipe: str, world: str, sweep: str = "group"
) -> list[dict[str, Any]]:
  """A recipe's records along one sweep, the cheapest first."""
  size = found["size"]
  chosen = [
    r
    for r in found["records"]
    if (r["recipe"], r["world"]) == (recipe, world)
    and (
      r["extra"] in (None, size["extra"])
      if sweep == "group"
      else r["extra"] is not None and r["group"] == size["group"]
    )
  ]
  return sorted(chosen, key=lambda r: r["steps"])


def at(found, recipe, world) -> dict[str, Any]:
  """The record at the group size, and number of continuations, of the study."""
  group = found["size"]["group"]
  chosen = records(found, recipe, world)
  return next(r for r in chosen if r["group"] == group)


def mean_cosine(found, recipe: str) -> float:
  worlds = [world["name"] for world in found["worlds"]]
  cosine = lambda w: at(found, recipe, w)["metrics"]["cosine"]["value"]
  return float(np.mean([cosine(world) for world in worlds]))


def best(found) -> dict[str, str]:
  """The recipe of each family that the lines are labelled with."""
  best: dict[str, str] = {}
  for entry in sorted(
    shown(found), key=lambda x: -mean_cosine(found, x["name"])
  ):
    best.setdefault(entry["family"], entry["name"])
  best.pop("control", None)
  return best


def ranked(found) -> list[dict[str, Any]]:
  """The recipes from the worst mean cosine to the best."""
  return sorted(shown(found), key=lambda x: mean_cosine(found, x["name"]))


def name(found, entry) -> str:
  """The recipe's name; "*" if its evidence is simulated, "+n" if n equal it."""
  others = sum(x["same_as"] == entry["name"] for x in found["recipes"])
  marks = "*" * bool(entry["simulated"])
  return entry["name"] + marks + (f" (+{others})" if others else "")
