"""`rlx credit`: how right a method's credit is: proved, and measured."""

import importlib
from typing import NamedTuple


class Command(NamedTuple):
  """A sub-command: `module.main(arguments) -> exit code`, and its one line."""

  module: str
  line: str


COMMANDS = {
  "ledger": Command("credit_ledger", "proved: each recipe's bias, exactly"),
  "fidelity": Command("credit_fidelity", "measured: credit beside the truth"),
}

USAGE = """usage: rlx credit COMMAND ...

How right is the credit that a method gives to the steps of a trajectory?

{commands}

examples:
  rlx credit ledger
  rlx credit ledger --recipe grpo --recipe rloo
  rlx credit fidelity --help

rlx credit COMMAND --help says more."""


def main(args: list[str]) -> int:
  """Returns the exit code of the sub-command; one there is not is an error."""
  if not args or args[0] in ("-h", "--help"):
    lines = "\n".join(f"  {n:9} {c.line}" for n, c in COMMANDS.items())
    print(USAGE.format(commands=lines))
    return 0
  name, *rest = args
  if name not in COMMANDS:
    from rlx import spec

    raise ValueError(
      f"no command credit {name!r}; {spec.nearest_text(name, COMMANDS)}; "
      f"there are {', '.join(COMMANDS)}"
    )
  # Each is imported when asked for, so that `rlx credit` is instant.
  module = importlib.import_module(f"rlx.commands.{COMMANDS[name].module}")
  return module.main(rest)
