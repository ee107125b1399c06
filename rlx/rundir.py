"""A run directory: one run's configuration, metrics, samples, checkpoints.

    config.json           the configuration, fully resolved
    metrics.jsonl         one object a line (`metrics.Writer`)
    tensorboard/          the same as events
    samples/step_N.jsonl  one sequence a line (`RunDir.write_samples`)
    checkpoints/step_N/   whole states (`checkpoint.Checkpointer`)
    summary.json          the last word: results, time, seed

Every file is written beside its place and renamed into it, so a reader or a
kill never meets half a file. A lock keeps a second process out.
"""

import dataclasses
import fcntl
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rlx import config as configs

_LOCK = ".lock"
_OPEN: set[int] = set()  # Locks held, so that a forked child can let go.


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes a file atomically and durably: all of it or nothing.

  Raises:
    OSError: as from any write; what was there before is still there.
  """
  path = pathlib.Path(path)
  temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with temp.open("w", encoding="utf-8") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temp, path)
  except BaseException:
    temp.unlink(missing_ok=True)
    raise


def write_json(path: str | os.PathLike, tree: Any) -> None:
  """Writes a JSON tree atomically; see `plain` for what it may hold."""
  text = json.dumps(plain(tree), indent=2, allow_nan=False)
  write_text(path, text + "\n")


def plain(tree: Any) -> Any:
  """The tree as JSON has it: arrays as lists, what is not finite as null."""
  if isinstance(tree, Mapping):
    return {str(k): plain(v) for k, v in tree.items()}
  if tree is None or isinstance(tree, str | bool | int):
    return tree
  if isinstance(tree, float):
    return tree if math.isfinite(tree) else None
  if isinstance(tree, list | tuple):
    return [plain(x) for x in tree]
  return plain(np.asarray(tree).tolist())


@dataclasses.dataclass(frozen=True)
class RunDir:
  """An open run directory. Close it, or use it in `with`, to let others in."""

  path: pathlib.Path
  config: Mapping[str, Any]  # As JSON, as in the file now.
  lock: int | None  # File descriptor; None without the right to write.

  @property
  def checkpoints(self) -> pathlib.Path:
    return self.path / "checkpoints"

  @property
  def metrics(self) -> pathlib.Path:
    return self.path / "metrics.jsonl"

  def samples(self, step: int) -> pathlib.Path:
    return self.path / "samples" / f"step_{step}.jsonl"

  def write_samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the sequences of a step, one object a line, replacing any.

    Each row has `prompt` and `trajectory` (ids), `tokens`, `text`, `spans`
    (`[start, end)` in tokens of each step), and per step `rewards` and
    `advantages`; more is welcome. Arrays are welcome as values.
    """
    path = self.samples(step)
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps(plain(row), allow_nan=False) for row in rows)
    write_text(path, "".join(f"{line}\n" for line in lines))

  def write_summary(self, summary: Mapping[str, Any]) -> None:
    write_json(self.path / "summary.json", summary)

  def rewind(self, step: int | None) -> None:
    """Forgets samples after the checkpoint that a run goes on from.

    Args:
      step: of that checkpoint; None when there is none.
    """
    for path in (self.path / "samples").glob("step_*.jsonl"):
      found = re.fullmatch(r"step_(\d+)", path.stem)
      if found and (step is None or int(found[1]) > step):
        path.unlink()

  def close(self) -> None:
    if self.lock in _OPEN:
      _OPEN.discard(self.lock)
      os.close(self.lock)

  def __enter__(self) -> "RunDir":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def open_run(
  path: str | os.PathLike,
  config: Mapping[str, Any],
  *,
  may_change: Sequence[str] = (),
  write: bool = True,
) -> RunDir:
  """Makes a run directory, or opens the one there to go on with its run.

  Args:
    path: the directory.
    config: JSON tree of the configuration (`config.to_json`).
    may_change: paths of fields that may differ from those in the directory,
      `("num_steps", "log")`; each covers the fields below it.
    write: False for all but the first process of a run on several: nothing is
      locked or written.

  Raises:
    ValueError: the directory holds something else; or the run of another
      config, whose differing fields are listed; or another process writes it.
  """
  path = pathlib.Path(path)
  _refuse_foreign(path)
  if not write:
    return RunDir(path, config, None)
  path.mkdir(parents=True, exist_ok=True)
  lock = _acquire(path)
  try:
    old = read_config(path)
    if old is not None:
      _refuse_changes(path, old, config, may_change)
    if old is None or configs.diff(old, plain(config)):
      write_json(path / "config.json", config)
  except BaseException:
    _OPEN.discard(lock)
    os.close(lock)
    raise
  return RunDir(path, config, lock)


def read_config(path: str | os.PathLike) -> dict[str, Any] | None:
  """The configuration in a run directory as a JSON tree; None without one.

  Raises:
    ValueError: config.json is not one that rlx wrote.
  """
  file = pathlib.Path(path) / "config.json"
  if not file.exists():
    return None
  try:
    tree = json.loads(file.read_text(encoding="utf-8"))
  except ValueError as e:
    raise ValueError(f"{file}: damaged, {e}") from e
  if not isinstance(tree, dict) or ":" not in str(tree.get("type")):
    raise ValueError(f"{file}: not the config.json of an rlx run; {_ELSEWHERE}")
  return tree


_ELSEWHERE = "choose an empty or a new directory with --workdir"


def _refuse_foreign(path: pathlib.Path) -> None:
  """Raises if the directory has content that is no run; touches nothing."""
  if not path.exists():
    return
  if not path.is_dir():
    raise ValueError(f"run directory {path}: is a file; {_ELSEWHERE}")
  if read_config(path) is None:
    # A run that was killed at once leaves a lock, or half a config.
    strange = [
      x.name
      for x in path.iterdir()
      if x.name != _LOCK and not x.name.startswith(".config.json.")
    ]
    if strange:
      raise ValueError(
        f"run directory {path}: not empty and without config.json, so it is "
        f"no run of rlx (there is {', '.join(sorted(strange)[:5])}); "
        f"{_ELSEWHERE}"
      )


def _refuse_changes(
  path: pathlib.Path,
  old: Mapping[str, Any],
  new: Mapping[str, Any],
  may_change: Sequence[str],
) -> None:
  allowed = tuple(f"{x.replace('-', '_')}." for x in may_change)
  differences = [
    f"  {name}: {before!r} -> {after!r}"
    for name, before, after in configs.diff(old, plain(new))
    if not f"{name}.".startswith(allowed)
  ]
  if differences:
    raise ValueError(
      f"run directory {path} was written by another config "
      f"({len(differences)} field(s) differ: there -> now):\n"
      + "\n".join(differences)
      + f"\nUse the same config to resume, or {_ELSEWHERE}."
    )


def _acquire(path: pathlib.Path) -> int:
  """Takes the lock of a directory; the kernel frees it when we die."""
  lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as e:
    owner = os.read(lock, 100).decode(errors="replace").strip() or "unknown"
    os.close(lock)
    raise ValueError(
      f"run directory {path}: in use by another process ({owner})"
    ) from e
  os.ftruncate(lock, 0)
  os.pwrite(lock, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
  _OPEN.add(lock)
  return lock


def _let_go() -> None:
  """In a forked child: else it would hold its dead parent's lock."""
  while _OPEN:
    os.close(_OPEN.pop())


os.register_at_fork(after_in_child=_let_go)
