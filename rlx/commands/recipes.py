"""`rlx recipes`: list the methods, or explain one."""

import inspect
import json

from rlx.commands import arguments

USAGE = """usage: rlx recipes [NAME] [--json]

Without a name: every method, what it needs and where it is from.
With one: what it does, its formula, its fields, its source and departures.

  --json   a list of objects: name, formula, source, confidence, evidence, verbs,
           bias and more

What is said of a method:
  source [confidence]  what its formula was checked against: code, paper, note,
                       abstract or known
  verbs     what it asks of the rollout engine
  evidence  columns of the step table, beyond reward and outcome, that the task
            has to fill unless the method does so itself
  bias      of its credit in expectation, by exact enumeration: unbiased, scaled
            by a factor, or biased; `rlx credit ledger` has the numbers

examples:
  rlx recipes
  rlx recipes gigpo
  rlx train quickstart --recipe salt"""


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
  from rlx.ledger import stored

  known = {f.__name__: f for f in recipes.ALL}
  if name is not None:
    found = arguments_recipe.method(name)
    known = {found.__name__: found}
  if as_json:
    found = [
      {**recipes.summary(f()), "bias": stored.bias(name)}
      for name, f in known.items()
    ]
    print(json.dumps(found, indent=2))
    return 0
  if name is not None:
    for f in known.values():
      print(recipes.describe(f()))
      print(f"  bias of its credit: {stored.bias(f.__name__)}")
      print()
      print(inspect.getdoc(f))
    return 0
  for x in (recipes.summary(f()) for f in known.values()):
    evidence = f"; evidence: {', '.join(x['evidence'])}" * bool(x["evidence"])
    bias = stored.bias(x["name"])
    print(f"{x['name']}\n    {x['formula']}")
    print(f"    {x['source']} [{x['confidence']}]; bias: {bias}")
    print(f"    verbs: {', '.join(x['verbs'])}{evidence}")
  print(
    "\n`rlx recipes NAME` explains one; `--recipe.FIELD` changes it in a run."
  )
  return 0
