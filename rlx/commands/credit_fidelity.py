"""`rlx credit fidelity`: measure how near credit is to exact advantages."""

import json
import pathlib
import time
from typing import Any

from rlx.commands import arguments

USAGE = """usage: rlx credit fidelity [--recipe NAME]... [--quick] [--json] ...

How good is the credit that each recipe gives to the steps of a trajectory? It
is compared with the exact advantages, on the same rollouts, in worlds small
enough to be solved: frozen lakes, and reasoning that branches (8 prompts of
each, with success from 0.2 to 0.6). Nothing is trained.

  rank      rank correlation with the exact advantages, within prompts
  sign      share of steps with the right sign; 0.5 says nothing
  cosine    of the policy gradient that the credit gives to the true one
  r2, bias, variance
            shares of the credit's mean square: what follows the truth, what is
            wrong on average, what is noise; they add up to 1. Bias and
            variance are estimated, and may leave 0 to 1 by a little
  over grpo the difference of cosines at the same group size, where grpo is
            measured too; bold where its interval leaves out 0
  steps     turns played for a prompt, continuations and trees included

All of it as functions of the group size, and of the number K of continuations at
each boundary for recipes that take them; 95% bootstrap intervals are in --json.
Recipes are in order of the cosine. (exact) gives every step its exact advantage,
on the same rollouts: the best that credit can do with them. (exact tree) is the
same on trees, and (noise) draws its credit.

  --recipe NAME  measure this one (may be repeated); all unless given
  --quick        a small sample, and the first recipe of each family: seconds
  --seed N       of everything that is drawn; 0 unless given
  --json         one JSON object: every number, formulas, versions, seed
  --figure FILE  draw it too: .svg, .pdf or .png; needs matplotlib

A star marks a recipe with evidence simulated from the exact values. The first
run compiles every recipe: a minute or two on 2 cores.

examples:
  rlx credit fidelity --recipe grpo --recipe gigpo
  rlx credit fidelity --json > fidelity.json
  rlx credit fidelity --figure fidelity.svg"""


def main(args: list[str]) -> int:
  """Returns 0 when it was measured."""
  if {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  quick, rest = arguments.take_flag(args, "--quick")
  as_json, rest = arguments.take_flag(rest, "--json")
  seed, rest = arguments.take(rest, "--seed")
  path, rest = arguments.take(rest, "--figure")
  names, rest = arguments.take_all(rest, "--recipe")
  arguments.refuse(rest, USAGE)
  number = arguments.integer(seed, "--seed", 0, least=0)
  found = measure(names, quick, number, quiet=as_json, figure_path=path)
  if as_json:
    print(json.dumps(found))
  else:
    show(found)
  return 0


def measure(
  names: list[str],
  quick: bool,
  seed: int,
  quiet: bool,
  figure_path: str | None = None,
) -> dict[str, Any]:
  """Returns the study with versions and the time it took; draws it if asked."""
  # Imported here: `--help` is instant.
  from rlx import cache
  from rlx.bench import measure as bench
  from rlx.fidelity import arena, figure, study
  from rlx.view import console

  if figure_path is not None:
    figure.check(figure_path)
  makes = chosen(names, quick)
  cache.use()
  began = time.monotonic()
  total = len(makes) + len(study.CONTROLS)
  with console.Console(quiet=quiet).phase("recipes", total) as phase:
    found = study.run(
      makes,
      study.QUICK if quick else arena.Size(),
      seed,
      lambda done, name: phase.step(done),
    )
  found |= {
    "seconds": round(time.monotonic() - began, 1),
    "versions": bench.surroundings()["versions"],
  }
  if figure_path is not None:
    figure.draw(found, pathlib.Path(figure_path))
  return found


def chosen(names: list[str], quick: bool) -> list[Any]:
  """The recipes' functions; of every family the first, where it is quick.

  Raises:
    ValueError: there is no recipe of a name.
  """
  from rlx import recipes
  from rlx.commands import arguments_recipe
  from rlx.fidelity import study

  if names:
    return [arguments_recipe.method(name) for name in dict.fromkeys(names)]
  if not quick:
    return list(recipes.ALL)
  first: dict[str, Any] = {}
  for make in recipes.ALL:
    first.setdefault(study.family(make()), make)
  return list(first.values())


_SHOWN = ("rank", "sign", "r2", "bias", "variance")
_HEADS = {"variance": "var."}


def show(found: dict[str, Any]) -> None:
  """Prints a table for each set of worlds, then what to know of it."""
  from rlx.view import console

  out = console.Console()
  at = found["size"]["group"]
  # As many as fit a line.
  groups = [g for g in found["size"]["groups"] if g != at]
  groups = sorted({groups[0], at, groups[-1]}) if groups else [at]
  extra = found["size"]["extra"]
  compared = any(record["gain"] for record in found["records"])
  for world in found["worlds"]:
    rows = _rows(found, world["name"], groups, at, extra)
    head = [f"cos {g}" for g in groups]
    if compared:
      head.insert(groups.index(at) + 1, "over grpo")
    out.table(
      f"{world['name']}: success {min(world['success']):.2f} to "
      f"{max(world['success']):.2f}; cosine by group size, the rest at {at}",
      ["recipe", "steps", *head, *(_HEADS.get(x, x) for x in _SHOWN)],
      rows,
    )
  _show_extras(out, found)
  _show_notes(out, found)


def _rows(found, world, groups, at, extra) -> list[list[str]]:
  """A row for each credit, the best cosine first."""
  cells = {
    (r["recipe"], r["group"]): r
    for r in found["records"]
    if r["world"] == world and r["extra"] in (None, extra)
  }
  rows = []
  for entry in found["recipes"]:
    if entry["skipped"] or entry["same_as"]:
      continue
    cosine = {g: cells[entry["name"], g]["metrics"]["cosine"] for g in groups}
    record = cells[entry["name"], at]
    here = cosine[at]
    row = [entry["name"] + "*" * bool(entry["simulated"])]
    row += [f"{record['steps']:.0f}"]
    row += [_number(cosine[g]["value"]) for g in groups if g < at]
    row += [_number(here["value"])]
    row += [_difference(record["gain"])] * (record["gain"] is not None)
    row += [_number(cosine[g]["value"]) for g in groups if g > at]
    row += [_number(record["metrics"][name]["value"]) for name in _SHOWN]
    rows.append((-here["value"], row))
  return [row for _, row in sorted(rows)]


def _number(x: float) -> str:
  """Two places without the 0 in front, which a wide table has no room for."""
  return f"{x:.2f}".replace("0.", ".", 1)


def _difference(gain: dict[str, float] | None) -> str:
  """A difference with its interval, bold where that leaves out 0."""
  if gain is None:
    return ""
  value, low, high = (_number(gain[k]) for k in ("value", "low", "high"))
  text = f"{value} ({low}, {high})"
  return f"[bold]{text}[/]" if gain["low"] * gain["high"] > 0 else text


def _show_extras(out, found) -> None:
  """What more continuations give, at the same group size."""
  at = found["size"]["group"]
  extras = list(found["size"]["extras"])
  rows = []
  for entry in found["recipes"]:
    for world in found["worlds"]:
      cells = {
        r["extra"]: r
        for r in found["records"]
        if (r["recipe"], r["world"], r["group"])
        == (entry["name"], world["name"], at)
      }
      if None in cells or not cells or entry["same_as"]:
        continue
      rows.append(
        [entry["name"], world["name"]]
        + [
          f"{cells[k]['metrics']['cosine']['value']:.2f}"
          f" ({cells[k]['steps']:.0f})"
          for k in extras
        ]
      )
  if rows:
    out.table(
      f"cosine (steps) by continuations at each boundary, groups of {at}",
      ["recipe", "world", *(f"K = {k}" for k in extras)],
      rows,
    )


def _show_notes(out, found) -> None:
  same: dict[str, list[str]] = {}
  for entry in found["recipes"]:
    if entry["same_as"]:
      same.setdefault(entry["same_as"], []).append(entry["name"])
  for name, others in same.items():
    out.say(f"the same credit as {name}: {', '.join(others)}")
  made: dict[tuple[str, str], list[str]] = {}
  for entry in found["recipes"]:
    for column, how in entry["simulated"].items():
      made.setdefault((column, how), []).append(entry["name"])
  for (column, how), names in made.items():
    out.say(f"* evidence is simulated: {column} is {how} ({', '.join(names)})")
  for entry in found["recipes"]:
    if entry["skipped"]:
      out.say(f"not measured: {entry['name']}: {entry['skipped']}")
  out.say(f"seed {found['seed']}, {found['seconds']:.0f} s")
