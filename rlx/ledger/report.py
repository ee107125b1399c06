"""The ledger for readers: a table, Markdown, and JSON."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rlx.view import console

TITLE = "Expected gradient of each recipe beside the true one, exactly"

COLUMNS = ("", "credit", "factor", "angle", "loss", "loss angle", "shown by")

LEGEND = """credit: the advantages alone; loss: with the reduction too; factor, angle: of the
expected gradient to the true one; shown by: process/policy/group size at a
decision. rlx/ledger/README.md says more."""

INTRODUCTION = """# The bias ledger

What does a recipe's gradient do *on average*? On decision processes so small
that every batch can be listed, that is a finite sum, computed here in float64
and compared with the gradient of the expected outcome.

This file is written by `rlx credit ledger --save`, and a test computes all of
it again. Numbers of every case stand in `ledger.json`.

- **credit**: the advantages alone, `E[sum A grad log pi]` per trajectory.
- **loss**: the whole objective at a ratio of 1, with its reduction, times what
  makes the average token weigh 1: a division by a constant is no bias, one by a
  length that was sampled is.
- **unbiased**: equal to the true gradient everywhere. **scaled**: parallel to
  it everywhere, by a factor, of the group size G or the number n of
  trajectories; or by a range of factors, where that depends on the process.
  **biased**: neither; the range of factors, the largest angle in degrees, and
  the process, policy, group size and decision that show it.
- **factor**: `<g, t> / <t, t>` of the expected gradient g and the true one t,
  over the logits of all decisions. **angle**: between g and t. Above 90 degrees
  the outcome gets worse. Where g vanishes nothing is learnt, and there is no
  angle. What differs by less than 1e-9 of t is equal.
- **shown by**: `tree/even/2 at root` is the process `tree`, under the policy
  `even`, in groups of 2; of all decisions, g turns away from t the most at
  `root`. Policies are tabular softmaxes: `even` has all logits at 0, `tilted`
  fixed ones of -0.9 to 0.9.

Recipes that grow trees get trees: as many branches from a prompt as a group has
members, two behind each, then one; a trajectory is a branch of the root.

![Angles and factors of every recipe and process](ledger.png)

What a recipe is told by verifiers, second learners and extra samples is exact
here, so that what is found is the recipe's own. Recipes are as published:
discounts below 1 count as a bias, as the outcome does not know them.

Numbers are of what can be listed: groups of 2 and 3 (`difficulty` also 4), of one
prompt, or of two on the last two processes. What comes of dividing by the
statistics of a batch or of a group depends on its size, and mostly falls with it:
an angle says that there is a bias, and where from, not how large it is in a batch
of 256. Nor is what is biased worse to train with: variance is not looked at here
(see `rlx credit fidelity`).

## What it finds

- A baseline of the *others* changes nothing on average; one that includes the
  sample shrinks the gradient by (G-1)/G, and by nothing else.
- Rewards compared at equal turn indices do not see the decision to stop: the
  gradient is zero. Comparing what is *earned* from there on does see it.
- A group in which few stand gives a lone step nothing, and a pair half: what is
  centred by state or index shrinks by a factor that differs between states, and
  so turns, and does so the more the finer the groups are.
- Division by the spread of a group makes stakes of 1 and 0.1 equal. With
  outcomes of 0 and 1 it hardly turns the gradient in groups this small.
- Whitening over the batch subtracts part of what the same trajectory earned in
  its other steps, and divides by a spread that it has part in: on `tree` that
  turns the gradient by 41 degrees in batches of 2 and by 28 in batches of 3.
- Leaving out groups of equal outcomes scales the credit, and does not turn it. A
  loss that is averaged over what is left turns a little, where prompts differ.
- Dividing a loss by a sampled number of tokens turns it, if steps are of
  different lengths; per answer more than per batch. A constant does not.
- A tree whose edges all count once gives late decisions as much more weight as
  there are more of them.
- An exact critic may be bootstrapped from; one that knows nothing turns the
  gradient, unless lambda is 1.
"""


def to_json(ledger: dict[str, Any]) -> str:
  """The ledger as text, a line for each list of numbers."""
  head = {k: v for k, v in ledger.items() if k != "entries"}
  entries = ",\n".join(_entry(entry) for entry in ledger["entries"])
  start = json.dumps(head, indent=1).removesuffix("\n}")
  return f'{start},\n "entries": [\n{entries}\n ]\n}}\n'


def _entry(entry: dict[str, Any]) -> str:
  lines = [
    f"   {json.dumps(k)}: {json.dumps(v)}"
    if not isinstance(v, dict)
    else f"   {json.dumps(k)}: {_lines(v)}"
    for k, v in entry.items()
  ]
  return "  {\n" + ",\n".join(lines) + "\n  }"


def _lines(values: dict[str, Any]) -> str:
  inner = [f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()]
  return "{\n" + ",\n".join(inner) + "\n   }" if inner else "{}"


def show(ledger: dict[str, Any], to: console.Console) -> None:
  """Prints a table of recipes and one of parts."""
  for kind in ("recipe", "part"):
    rows = [row(e) for e in ledger["entries"] if e["kind"] == kind]
    if rows:
      to.table(f"\n{TITLE}: {kind}s", COLUMNS, rows)
  to.say(LEGEND)
  unknown = [e for e in ledger["entries"] if "unknown" in e]
  for entry in unknown:
    to.say(f"{entry['name']}: {entry['unknown']}")


def row(entry: dict[str, Any]) -> tuple[str, ...]:
  """A line of the table."""
  if "unknown" in entry:
    return (entry["name"], "unknown", *[""] * 5)
  credit, loss = entry["credit"], entry["objective"]
  worst = credit if credit["worst"] or credit["vanishes"] else loss
  return (
    entry["name"],
    *(credit["bias"], credit["factor"], _angle(credit)),
    *(loss["bias"], _angle(loss), _shown(worst)),
  )


def _angle(verdict: dict[str, Any]) -> str:
  return f"{verdict['angle']:.1f}°" if verdict["angle"] else "0"


def _shown(verdict: dict[str, Any]) -> str:
  vanishes = [f"vanishes on {name}" for name in verdict["vanishes"]]
  return "; ".join([*vanishes, *[verdict["worst"]] * bool(verdict["worst"])])


def to_markdown(ledger: dict[str, Any]) -> str:
  """The ledger as a document."""
  return "\n".join(_document(ledger)) + "\n"


def _document(ledger: dict[str, Any]) -> Iterator[str]:
  entries = ledger["entries"]
  yield INTRODUCTION
  yield "## Processes\n"
  for process in ledger["processes"]:
    yield f"- `{process['name']}`: {process['about']}"
  for kind, title in (
    ("recipe", "Recipes"),
    ("part", "Parts: what makes a recipe biased"),
  ):
    yield f"\n## {title}\n"
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for entry in (e for e in entries if e["kind"] == kind):
      yield "| " + " | ".join(_cell(x) for x in row(entry)) + " |"
  yield from _by_process(ledger)
  yield "\n## What each part is\n"
  for entry in (e for e in entries if e["kind"] == "part"):
    yield f"- `{entry['name']}`: {entry['about']}. `{entry['formula']}`"
  yield "\n## What recipes are told\n"
  for entry in (e for e in entries if e.get("told") and e["kind"] == "recipe"):
    told = "; ".join(f"`{k}`: {v}" for k, v in entry["told"].items())
    yield f"- `{entry['name']}`: {told}"


def _by_process(ledger: dict[str, Any]) -> Iterator[str]:
  """The largest angles of the credit on each process."""
  names = [process["name"] for process in ledger["processes"]]
  yield "\n## Largest angle of the credit on each process, in degrees\n"
  yield "| | " + " | ".join(_cell(name) for name in names) + " |"
  yield "|" + "---|" * (len(names) + 1)
  for entry in (e for e in ledger["entries"] if "credit" in e):
    angles = [
      largest(entry["credit"]["angles"], ledger["cases"], name)
      for name in names
    ]
    cells = ["none" if a is None else f"{a:.1f}" if a else "0" for a in angles]
    yield f"| {_cell(entry['name'])} | " + " | ".join(cells) + " |"


def largest(
  angles: Sequence[float | None], cases: Sequence[str], process: str
) -> float | None:
  """The largest angle on a process; None if a gradient vanishes there."""
  own = [
    angle
    for angle, case in zip(angles, cases, strict=True)
    if case.partition("/")[0] == process
  ]
  known = [angle for angle in own if angle is not None]
  return max(known) if len(known) == len(own) else None


def _cell(text: str) -> str:
  return text.replace("|", "\\|").replace("_", "\\_")
