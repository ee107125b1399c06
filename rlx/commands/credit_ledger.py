"""`rlx credit ledger`: what each recipe's gradient does on average."""

import pathlib
import sys

from rlx.commands import arguments

USAGE = """usage: rlx credit ledger [--recipe NAME ...] [--json] [--out DIR] [--save]

The expected gradient of every recipe on small decision processes, by listing
all batches, beside the true gradient: unbiased, scaled by a factor, or biased,
with the angle and the decision that shows it. Takes half a minute.

  credit     of the advantages alone
  factor     of the true gradient in the expected one; 1 for unbiased ones
  angle      between the two in degrees, the largest of all processes
  loss       of the whole objective, with its reduction over tokens; its angle
  shown by   process/policy/group size of the largest angle, and the decision

rlx/ledger/README.md defines the processes and says what is found.

  --recipe NAME  only this one; may be repeated
  --json         all numbers, as JSON
  --out DIR      writes ledger.json and ledger.md there, and ledger.png where there
                 is matplotlib: pip install matplotlib
  --save         rewrites the ledger that is part of rlx, which `rlx recipes`
                 reads; for those who change a recipe. Needs matplotlib too

examples:
  rlx credit ledger
  rlx credit ledger --recipe grpo --recipe rloo
  rlx credit ledger --out results"""


def main(args: list[str]) -> int:
  """Returns 0; a name that there is not is an error."""
  if {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  as_json, args = arguments.take_flag(args, "--json")
  save, args = arguments.take_flag(args, "--save")
  out, args = arguments.take(args, "--out")
  names, args = arguments.take_all(args, "--recipe")
  arguments.refuse(args, USAGE)
  if save and names:
    raise ValueError("--save is for all recipes: leave --recipe out")
  # What is imported from here on is slow, and `--help` need not wait for it.
  from rlx import recipes
  from rlx.commands import arguments_recipe
  from rlx.ledger import compute, report, stored
  from rlx.view import console, plots

  methods = [arguments_recipe.method(name) for name in names]
  if save:
    plots.matplotlib()  # Before the work, not after it.
  found = compute.ledger(methods or recipes.ALL, with_parts=not names)
  if as_json:
    print(report.to_json(found), end="")
  else:
    report.show(found, console.Console())
  if save:
    _write(found, stored.HERE, stored.README.name)
  if out is not None:
    lacks = _write(found, pathlib.Path(out), "ledger.md")
    if lacks:
      print(f"no {out}/ledger.png: {lacks}", file=sys.stderr)
  return 0


def _write(found, folder: pathlib.Path, document: str) -> str:
  """Returns why there is no figure, or nothing."""
  from rlx.ledger import figure, report

  folder.mkdir(parents=True, exist_ok=True)
  (folder / "ledger.json").write_text(report.to_json(found))
  (folder / document).write_text(report.to_markdown(found))
  try:
    figure.draw(found, folder / "ledger.png")
  except ValueError as error:  # There is no matplotlib.
    return str(error)
  return ""
