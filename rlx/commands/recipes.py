"""`rlx recipes`: list the methods, or explain one."""

import inspect
import json

from rlx.commands import arguments

USAGE = """usage: rlx recipes [NAME] [--json]

Without a name: every method, what it needs and where it is from.
With one: what it does, its formula, its fields, its source and departures.

  --json   a list of objects

examples:
  rlx recipes
  rlx recipes gigpo"""


def main(args: list[str]) -> int:
  """Returns 0; a name that there is not is an error."""
  if args and args[0] in ("-h", "--help"):
    print(USAGE)
    return 0
  as_json, rest = arguments.take_flag(args, "--json")
  name = rest.pop(0) if rest else None
  arguments.refuse(rest, USAGE)
  from rlx import recipes, spec

  known = {f.__name__: f for f in recipes.ALL}
  if name is not None:
    found = known.get(name.replace("-", "_"))
    if found is None:
      raise ValueError(
        f"no recipe {name!r}; {spec.nearest_text(name, known)}; there are "
        f"{', '.join(known)}"
      )
    known = {found.__name__: found}
  if as_json:
    print(json.dumps([recipes.summary(f()) for f in known.values()], indent=2))
    return 0
  if name is not None:
    for f in known.values():
      print(recipes.describe(f()))
      print()
      print(inspect.getdoc(f))
    return 0
  from rlx.view import console

  rows = [recipes.summary(f()) for f in known.values()]
  console.Console().table(
    "recipes",
    ["name", "formula", "evidence", "verbs", "confidence", "source"],
    [
      [
        x["name"],
        x["formula"],
        ", ".join(x["evidence"]),
        ", ".join(x["verbs"]),
        x["confidence"],
        x["source"],
      ]
      for x in rows
    ],
  )
  return 0
