"""`rlx play`: a person steps through an episode."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from rlx.commands import arguments

USAGE = """usage: rlx play NAME [--index N] [--split train|test] [--seed N]
                [--FIELD VALUE]

Play an episode yourself: you see what the policy sees, and are paid what it is
paid. Type an action and press enter; at the end you are told the outcome.

  NAME           of `rlx envs`, or an experiment's name or .py file
  --index N      which episode; 0 unless given
  --split NAME   train (the default) or test
  --seed N       of chance, where the environment has any
  --FIELD VALUE  any field of the task, as --size 6; --fields lists them

Beside actions you can type:
  hint   what an expert would do, or a demonstration does
  undo   go back by one turn, where the environment can be restored
  quit   leave; so does the end of the input
  help   this list
An environment that has such a word among its actions gets it; with a colon before
it, as :undo, it is always the command. A line that ends in a backslash goes on in
the next one.

examples:
  rlx play frozen-lake
  rlx play sokoban --index 7 --boxes 2
  rlx play reasoning-gym --data.datasets mini_sudoku
  printf 'right\\nundo\\ndown\\n' | rlx play frozen-lake --seed 1"""

_COMMANDS = ("hint", "undo", "quit", "help")
_MANY = 12  # Actions that are listed in a line.


def main(args: list[str]) -> int:
  """Returns 0 when the episode is over, or was left."""
  if not args or args[0] in ("-h", "--help") or {"-h", "--help"} & {*args}:
    print(USAGE)
    return 0
  name, *rest = args
  index, rest = arguments.take(rest, "--index")
  split, rest = arguments.take(rest, "--split")
  seed, rest = arguments.take(rest, "--seed")
  fields, rest = arguments.take_flag(rest, "--fields")
  from rlx.commands import playing

  family = playing.find(name)
  playing.need(family)
  prog = f"rlx play {name}"
  asks = [*rest, *["--help"] * fields]
  task = playing.chosen(family, asks, prog=prog, lists=f"{prog} --fields").task
  number = arguments.integer(index, "--index", 0)
  chance = arguments.integer(seed, "--seed", 0, least=0)
  live = playing.episode(task, number, split or "train")
  print(f"{name}, {split or 'train'} {number}; :help says what you can type\n")
  table = Table(task, live, chance, name, number, split or "train")
  for line in _lines(table):
    if not table.type(line):
      break
  found = playing.finished(
    [kept.turn for kept in table.kept], "", table.success, table.stop or "left"
  )
  print(f"\n{found.outcome()}")
  return 0


class _Kept(NamedTuple):
  """A turn, and the place where it began."""

  turn: Any
  place: Any
  success: bool | None


class Table:
  """An episode and the person in front of it.

  Attributes:
    kept: turns that were taken and not taken back.
    stop: why the episode is over; "" while it goes on.
  """

  def __init__(
    self,
    task: Any,
    live: Any,
    seed: int,
    name: str = "NAME",
    index: int = 0,
    split: str = "train",
  ):
    """Begins the episode and shows it."""
    from rlx.commands import asking
    from rlx.envs import protocol

    self._task, self._live, self._seed = task, live, seed
    self._name, self._index, self._split = name, index, split
    self._restorable = isinstance(live, protocol.Restorable)
    self.kept: list[_Kept] = []
    self.success: bool | None = None
    self.stop = ""
    with asking.asked():
      self._seen, _ = live.reset(seed)
    self._show()

  def type(self, line: str) -> bool:
    """Takes what was typed; returns whether the episode goes on."""
    from rlx.commands import playing

    word = line.strip().lower()
    taken = word in map(str.lower, playing.actions(self._task, self._live))
    if word.startswith(":") and word[1:] in _COMMANDS:
      return self._command(word[1:])
    if word in _COMMANDS and not taken:
      return self._command(word)
    if not word:
      return True
    return self._act(line)

  def _act(self, action: str) -> bool:
    from rlx.commands import asking, playing

    with asking.asked():
      place = self._live.snapshot() if self._restorable else None
      shown, reward, terminated, truncated, info = self._live.step(action)
    turn = playing.turn_of(self._seen, action, reward, info)
    self.kept.append(_Kept(turn, place, self.success))
    self._seen = shown
    self.success = info.get("success", self.success)
    over = len(self.kept) >= playing.max_turns(self._task)
    self.stop = playing.ended(terminated, truncated, over)
    told = [
      f"reward {playing.paid(turn.reward)}, "
      f"{playing.paid(self._so_far())} so far"
    ]
    told += [f"{name} {value:.3g}" for name, value in turn.evidence.items()]
    told += ["could not be read"] * turn.parse_error
    print(f"  [{'; '.join(told)}]")
    if not self.stop:
      self._show()
    elif shown.strip():
      print(shown)
    return not self.stop

  def _command(self, word: str) -> bool:
    if word == "undo":
      self._undo()
    elif word == "hint":
      self._hint()
    elif word == "help":
      print(USAGE)
    return word != "quit"

  def _hint(self) -> None:
    from rlx.commands import asking, playing

    done = [kept.turn.done for kept in self.kept]
    with asking.asked():
      known = playing.hint(
        self._task, self._live, self._index, self._split, self._seed, done
      )
    if known is None:
      print("  [nobody knows]")
    elif known:
      print(f"  [{known}]")
    else:
      print(
        f"  [no expert from here; rlx envs {self._name} shows a demonstration]"
      )

  def _undo(self) -> None:
    from rlx.commands import asking

    if not self._restorable:
      print("  [this environment cannot go back]")
    elif not self.kept:
      print("  [this is the beginning]")
    else:
      last = self.kept.pop()
      with asking.asked():
        self._live.restore(last.place, self._seed)
      self._seen, self.success = last.turn.seen, last.success
      self._show()

  def _so_far(self) -> float:
    return sum((kept.turn.reward for kept in self.kept), 0.0)

  def _show(self) -> None:
    from rlx.commands import playing

    print(self._seen)
    known = playing.actions(self._task, self._live)
    # A game that lists them itself is not said twice.
    if known and not all(action in self._seen for action in known):
      more = f" and {len(known) - _MANY} more" * (len(known) > _MANY)
      print(f"  [{', '.join(known[:_MANY])}{more}]")

  def prompt(self) -> str:
    """Returns what stands before the person's answer."""
    from rlx.commands import playing

    return f"turn {len(self.kept) + 1}/{playing.max_turns(self._task)}> "


def _lines(table: Table) -> Iterator[str]:
  """Yields what is typed, joined where a line ends in a backslash."""
  while True:
    print(table.prompt(), end="", flush=True)
    line = sys.stdin.readline()
    while line.endswith("\\\n"):
      line = line[:-2] + "\n" + sys.stdin.readline()
    if not line:
      return
    if not sys.stdin.isatty():
      print(line, end="" if line.endswith("\n") else "\n")
    yield line.rstrip("\n")
