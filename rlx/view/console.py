"""Progress in a terminal: a line that moves, or plain lines in a log."""

import collections
import sys
import time
from collections.abc import Mapping, Sequence

import rich.console
import rich.progress
import rich.table


class Console:
  """Prints phases, progress with rates and time left, and tables.

  Where the output is no terminal, a line is printed every few seconds instead
  of one that moves.
  """

  def __init__(self, quiet: bool = False, every: float = 10.0):
    self.rich = rich.console.Console(
      quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else 120
    )
    self._every = every

  def say(self, text: str) -> None:
    """Prints a line; rich's markup is understood."""
    self.rich.print(text)

  def phase(self, name: str, total: int, done: int = 0) -> "Phase":
    """Returns a context manager that shows how far a phase has come."""
    return Phase(self, name, total, done, self._every)

  def table(
    self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
  ) -> None:
    """Prints a table; all columns but the first are numbers."""
    self.rich.print(title)
    table = rich.table.Table()
    for i, column in enumerate(columns):
      table.add_column(column, justify="right" if i else "left")
    for row in rows:
      table.add_row(*row)
    self.rich.print(table)


class Phase:
  """Progress of one phase; see `Console.phase`."""

  def __init__(self, console: Console, name, total, done, every):
    self._console = console
    self._name = name
    self._total = total
    self._first = self._done = done
    self._every = every
    self._began = self._shown = time.monotonic()
    self._marks = collections.deque([(self._began, done)], maxlen=16)
    self._bar = None
    if console.rich.is_terminal and not console.rich.quiet:
      self._bar = rich.progress.Progress(
        rich.progress.TextColumn("[bold]{task.description}"),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[note]}"),
        console=console.rich,
      )
      self._task = self._bar.add_task(
        name, total=total, completed=done, note=""
      )

  def __enter__(self) -> "Phase":
    if self._bar is not None:
      self._bar.start()
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar is not None:
      self._bar.stop()
    elif self._first < self._done == self._total:  # And was not interrupted.
      self._line("")

  def step(self, done: int, shown: Mapping[str, float] | None = None) -> None:
    """Says that `done` of the total are done, and what the numbers are."""
    self._done = done
    self._marks.append((time.monotonic(), done))
    note = "  ".join(f"{k} {v:.3g}" for k, v in (shown or {}).items())
    if self._bar is not None:
      self._bar.update(self._task, completed=done)
      if note:
        self._bar.update(self._task, note=note)
    elif note and time.monotonic() - self._shown >= self._every:
      self._shown = time.monotonic()
      self._line(note)

  def _line(self, note: str) -> None:
    now = time.monotonic()
    spent = now - self._began
    # The rate of late: the first steps compile.
    since, done = self._marks[0]
    rate = (self._done - done) / max(now - since, 1e-9)
    left = (self._total - self._done) / max(rate, 1e-9)
    speed = (
      f"{rate:.2f}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.2f} s each"
    )
    end = f"done in {clock(spent)}"
    if self._done < self._total:
      end = f"{clock(left)} left"
    self._console.say(
      f"{self._name} {self._done}/{self._total}  {speed}  {end}  {note}".rstrip()
    )


def clock(seconds: float) -> str:
  """Returns "1:02:03" or "2:03"."""
  minutes, second = divmod(round(seconds), 60)
  hour, minute = divmod(minutes, 60)
  return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
