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
  from rlx import recipes
  from rlx.commands import arguments_recipe

  known = {f.__name__: f for f in recipes.ALL}
  if name is not None:
    found = arguments_recipe.method(name)
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
  for x in (recipes.summary(f()) for f in known.values()):
    evidence = f"; evidence: {', '.join(x['evidence'])}" * bool(x["evidence"])
    print(f"{x['name']:20} {x['formula']}")
    print(f"{'':20} {x['source']} [{x['confidence']}]")
    print(f"{'':20} verbs: {', '.join(x['verbs'])}{evidence}")
  print(
    "\n`rlx recipes NAME` explains one; `--recipe.FIELD` changes it in a run."
  )
  return 0
