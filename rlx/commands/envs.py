"""`rlx envs`: list the environments, or show an episode of one."""

import dataclasses
import inspect
import json
import textwrap
from typing import Any

from rlx.commands import arguments

USAGE = """usage: rlx envs [NAME] [--index N] [--split train|test] [--seed N] [--json]
                [--all] [--FIELD VALUE]

Without a name: every environment and task family, and what it is good for.
With one: its fields, and an episode of it, played by whoever knows best: its
expert, the data's own answer, a demonstration, or chance.

  NAME           of the list, or an experiment's name or .py file
  --index N      which episode; 0 unless given
  --split NAME   train (the default) or test
  --seed N       of chance
  --json         objects instead of text
  --all          every turn, also of a long episode
  --FIELD VALUE  any field of the task, as --size 6; --fields lists them

What is said of each:
  turns     actions an episode may take; 1 is a prompt with one answer
  evidence  columns of the step table that it fills; `rlx recipes` says which
            methods read them
  restored  it can be continued from any step, as trees and Monte-Carlo values need
  device    it is pure functions on arrays, and can be played inside the compiled
            program that samples
  extra     what to install for it: pip install 'rlx[EXTRA]'

examples:
  rlx envs
  rlx envs frozen-lake
  rlx envs procbench --procedures sort --index 3
  rlx play stepgame          the same, played by you"""


_FIRST, _LAST = 8, 4  # Turns that are shown of a long episode.
_NOBODY = (
  "nobody knows an action here: no expert, demonstration or list of actions;\n"
  "this is where it begins"
)


def main(args: list[str]) -> int:
  """Returns 0; a name that there is not is an error."""
  if {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  as_json, rest = arguments.take_flag(args, "--json")
  if not rest:
    return _list(as_json)
  name, *rest = rest
  if name.startswith("-"):
    arguments.refuse([name], USAGE)
  index, rest = arguments.take(rest, "--index")
  split, rest = arguments.take(rest, "--split")
  seed, rest = arguments.take(rest, "--seed")
  everything, rest = arguments.take_flag(rest, "--all")
  fields, rest = arguments.take_flag(rest, "--fields")
  from rlx.commands import playing

  family = playing.find(name)
  prog = f"rlx envs {name}"
  asks = [*rest, *["--help"] * fields]
  family = playing.chosen(family, asks, prog=prog, lists=f"{prog} --fields")
  task = family.task
  number = arguments.integer(index, "--index", 0)
  chance = arguments.integer(seed, "--seed", 0, least=0)
  where = split or "train"
  about = describe(family)
  if not family.installed():
    print(json.dumps(about, indent=2) if as_json else _text(about, task))
    playing.need(family)
  live = playing.episode(task, number, where)
  who, player = playing.player(task, live, number, where, chance)
  played = playing.play(task, live, player, chance)
  if as_json:
    print(json.dumps(about | {"episode": _as_json(played, who)}, indent=2))
    return 0
  print(_text(about, task))
  if not played.turns:
    print(f"\n{where} {number}:\n{_NOBODY}\n\n{played.last}")
  else:
    print(f"\n{where} {number}, played by {who}:")
    _table(played, everything)
    if played.last.strip():
      print(played.last)
    print(played.outcome())
  print(f"\nrlx play {name} lets you try.")
  return 0


def describe(family: Any) -> dict[str, Any]:
  """Returns what is to be known of a family, as JSON has it."""
  from rlx import prompts
  from rlx.commands import playing
  from rlx.envs import protocol
  from rlx.envs.device import protocol as device

  task = family.task
  single = isinstance(task, prompts.PromptTask)
  return {
    "name": family.name,
    "line": family.line,
    "kind": "prompts" if single else "environment",
    "turns": playing.max_turns(task),
    "evidence": _evidence(task, single),
    "restored": single or _restored(task),
    "device": isinstance(task, device.OnDevice),
    "demonstrations": single or isinstance(task, protocol.Demonstrated),
    "extra": family.extra,
    "installed": family.installed(),
    "task": f"{type(task).__module__}.{type(task).__qualname__}",
    "fields": _fields(task),
  }


def _restored(task: Any) -> bool | None:
  """Whether episodes can be restored; None where none can be made here."""
  from rlx.commands import playing
  from rlx.envs import protocol

  try:
    live = playing.episode(task, 0, "train")
  except ValueError:
    return None
  return isinstance(live, protocol.Restorable)


def _evidence(task: Any, single: bool) -> list[str]:
  """Returns the columns that a task says it fills."""
  from rlx.rewards import calls

  if single:
    return [f"objective/{calls.name_of(f)}" for f in calls.made(task.rewards)]
  return list(getattr(task, "evidence", ()))


def _fields(task: Any) -> dict[str, Any]:
  """Returns the fields that a command line can change, with their values."""
  out = {}
  for field in dataclasses.fields(task):
    value = getattr(task, field.name)
    if dataclasses.is_dataclass(value):
      inner = _fields(value)
      out |= {f"{field.name}.{name}": x for name, x in inner.items()}
    elif _plain(value):
      out[field.name] = list(value) if isinstance(value, tuple) else value
  return out


def _plain(value: Any) -> bool:
  if isinstance(value, tuple):
    return all(map(_plain, value))
  return isinstance(value, str | int | float | None)


def _list(as_json: bool) -> int:
  from rlx import families

  found = [describe(family) for family in families.ALL]
  if as_json:
    print(json.dumps(found, indent=2))
    return 0
  width = max(len(x["name"]) for x in found)
  for x in found:
    marks = [f"{x['turns']} turns" if x["turns"] > 1 else "one answer"]
    marks += ["restored"] * bool(x["restored"] and x["turns"] > 1)
    marks += ["device"] * x["device"]
    if x["extra"]:
      there = "installed" if x["installed"] else "not installed"
      marks.append(f"extra {x['extra']}, {there}")
    print(f"{x['name']:{width}}  {x['line']}")
    told = ["; ".join(marks)]
    told += [f"evidence: {', '.join(x['evidence'])}"] * bool(x["evidence"])
    for text in told:
      for line in textwrap.wrap(text, 78 - width):
        print(f"{'':{width}}  {line}")
  print(
    "\n`rlx envs NAME` shows an episode, `rlx play NAME` lets you play one; each is\n"
    "the `task` of an experiment, and --FIELD VALUE changes it."
  )
  return 0


def _text(about: dict[str, Any], task: Any) -> str:
  """Returns what is to be known of a family, as a person reads it."""
  marks = {True: "yes", False: "no", None: "not known here"}
  lines = [
    f"{about['name']}: {about['line']}",
    f"  turns {about['turns']}; can be restored: {marks[about['restored']]}; on "
    f"the device: {marks[about['device']]}",
    f"  evidence: {', '.join(about['evidence']) or 'none'}",
    f"  in an experiment: task={about['task']}(...)",
  ]
  if about["kind"] == "environment":
    lines += ["", inspect.getdoc(type(task)) or ""]
  lines += ["", "Fields:"]
  for name, value in about["fields"].items():
    lines.append(f"  --{name.replace('_', '-')}  {_shown(value)}".rstrip())
  return "\n".join(lines)


def _shown(value: Any) -> str:
  text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
  text = text.replace("\n", " ")
  return text if len(text) <= 60 else text[:56] + " ..."


def _table(played: Any, everything: bool) -> None:
  import rich.markup
  import rich.table

  from rlx.commands import playing
  from rlx.view import console

  table = rich.table.Table(show_lines=True)
  told = any(turn.evidence for turn in played.turns)
  for name in ("seen", "done", "reward", "evidence")[: 3 + told]:
    side = "right" if name == "reward" else "left"
    table.add_column(name, justify=side, overflow="fold")
  rewards = [turn.reward for turn in played.turns]
  left_out = range(_FIRST, len(played.turns) - _LAST)
  for i, turn in enumerate(played.turns):
    if i in left_out and not everything:
      if i == _FIRST:
        table.add_row(f"... {len(left_out)} more turns: --all ...")
      continue
    evidence = "\n".join(f"{k} {v:.3g}" for k, v in turn.evidence.items())
    cells = (turn.seen, turn.done, playing.paid(turn.reward, rewards), evidence)
    table.add_row(*map(rich.markup.escape, cells[: 3 + told]))
  console.Console().rich.print(table)


def _as_json(played: Any, who: str) -> dict[str, Any]:
  return {
    "player": who,
    "turns": [turn._asdict() for turn in played.turns],
    "last": played.last,
    "reward": played.reward,
    "success": played.success,
    "stop": played.stop,
  }
