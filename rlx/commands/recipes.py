"""`rlx recipes`: list the methods, or explain one."""

import inspect
import json
from collections.abc import Callable
from typing import Any

from rlx.commands import arguments

USAGE = """usage: rlx recipes [NAME] [--json]

Without a name: every method, what it needs and where it is from.
With one: what it does, its formula, its fields, its source and departures.

  --json   a list of objects: name, formula, source, confidence, evidence, verbs,
           bias and more

What is said of a method:
  source [confidence]  what its formula was checked against: code, paper, note,
                       abstract or known
  verbs     what it asks of the rollout engine; one that continues from places of
            its own plays many times the turns of one that samples
  evidence  columns of the step table, beyond reward and outcome, that it reads.
            With a name it is told who fills each: the rollout, the method's plan
            or second learner, or the task, which is an environment's
            info["evidence"] or a reward function's log_extra
  bias      of its credit in expectation, by exact enumeration: unbiased, scaled
            by a factor, or biased. It is that of the advantages at published
            settings, in groups of 2 to 4; `rlx credit ledger` has the numbers,
            and those of the loss

examples:
  rlx recipes
  rlx recipes gigpo
  rlx train quickstart --recipe salt"""


def main(args: list[str]) -> int:
  """Returns 0; a name that there is not is an error."""
  if {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  as_json, rest = arguments.take_flag(args, "--json")
  name = rest.pop(0) if rest and not rest[0].startswith("-") else None
  arguments.refuse(rest, USAGE)
  from rlx import recipes
  from rlx.commands import arguments_recipe
  from rlx.ledger import stored
  from rlx.recipes import filled

  known = {f.__name__: f for f in recipes.ALL}
  if name is not None:
    found = arguments_recipe.method(name)
    known = {found.__name__: found}
  if as_json:
    found = [
      recipes.summary(f())
      | {"filled_by": filled.by(f()), "bias": stored.bias(name)}
      for name, f in known.items()
    ]
    print(json.dumps(found, indent=2))
    return 0
  if name is not None:
    for f in known.values():
      print(recipes.describe(f()))
      for column, who in filled.by(f()).items():
        print(f"  {column!r} is filled by {who}")
      if "continue_from" in f().plan.needs:
        print("  its plan plays more than the samples that are learnt from")
      print(f"  bias of its credit: {stored.bias(f.__name__)}")
      print()
      print(inspect.getdoc(f))
      print()
      print(_fields(f))
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


def _fields(method: Callable[..., Any]) -> str:
  """The fields of a run that are its arguments, with their defaults."""
  fields = inspect.signature(method).parameters.values()
  plain = (str, int, float, type(None))
  lines = [
    f"  --recipe.{x.name.replace('_', '-')}  {x.default}"
    for x in fields
    if isinstance(x.default, plain)
  ]
  groups = [x.name for x in fields if not isinstance(x.default, plain)]
  name = method.__name__
  return "\n".join(
    [
      "Defaults:",
      *lines,
      *(f"  --recipe.{group}.*" for group in groups),
      f"`rlx train quickstart --recipe {name} --help` says more of each.",
    ]
  )
