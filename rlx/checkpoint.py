"""Checkpoints: the whole run, saved while it goes on, restored exactly.

    checkpoints/
      step_N/state/           the arrays (Orbax, OCDBT)
      step_N/checkpoint.json  leaves, extra data, checksums of all files
      latest                  "step_N"; for people, nothing reads it

A checkpoint is written in a hidden directory and renamed when its last byte is
on disk, so `step_N` is whole from the moment it is there. What is damaged later
is found by its checksums, and the checkpoint before it is restored.
"""

import contextlib
import errno
import json
import logging
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from rlx import checkpoint_files as files
from rlx import checkpoint_tree as trees

_log = logging.getLogger(__name__)
_NO_SPACE = ("no space left", "quota exceeded", "enospc", "edquot")


class Restored(NamedTuple):
  """What `Checkpointer.restore` found."""

  step: int
  state: Any
  extra: dict[str, Any]
  skipped: tuple[str, ...]  # Later checkpoints that are damaged, and how.


class Checkpointer:
  """Saves and restores the state of a run in a directory.

  One process group writes a directory at a time (`rundir.open_run` sees to
  it); any number may read. On several processes all call `save` together, and
  see one file system.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    *,
    keep: int = 2,
    keep_every: int = 0,
    verify: bool = True,
  ):
    """Nothing is touched before the first `save`.

    Args:
      directory: of the checkpoints, `run.checkpoints`.
      keep: how many of the newest checkpoints stay, 1 or more.
      keep_every: those of steps divisible by this stay as well; 0 for none.
      verify: whether restoring reads every byte to compare checksums.
    """
    if keep < 1:
      raise ValueError(f"keep: {keep} checkpoints; it must be 1 or more")
    self.directory = pathlib.Path(directory).absolute()
    self._keep, self._keep_every, self._verify = keep, keep_every, verify
    self._orbax: Any = None
    self._thread: threading.Thread | None = None
    self._error: BaseException | None = None

  def steps(self) -> list[int]:
    """The steps that have a checkpoint, damaged ones too, ascending.

    A run starts anew only when this is empty: with only damaged checkpoints,
    `restore` raises.
    """
    return list(files.find(self.directory))

  def latest(self) -> int | None:
    """The newest step whose checkpoint has all its files in full length."""
    found = reversed(files.find(self.directory).items())
    return next((step for step, path in found if files.looks_whole(path)), None)

  def restore(
    self, step: int | None, abstract_state: Any, *, partial: bool = False
  ) -> Restored:
    """Reads a checkpoint, bit-equal to what was saved, onto any mesh.

    Args:
      step: which; None for the newest that is whole.
      abstract_state: tree like the state; each leaf has `shape`, `dtype` and
        `sharding` (`jax.ShapeDtypeStruct` or an array). A numpy array, or what
        was one when saved and has no sharding here, is restored as numpy.
      partial: True to read only the leaves that `abstract_state` has.

    Returns:
      (step, state, extra, skipped): `skipped` tells of damaged checkpoints
      that were passed over, each of which is logged as a warning as well.

    Raises:
      FileNotFoundError: there is no checkpoint (of this step).
      ValueError: it is damaged, all are, or it is of another state.
    """
    self.wait()
    found = files.find(self.directory)
    wanted = [step] if step is not None else list(reversed(found))
    if not wanted or wanted[0] not in found:
      there = ", ".join(map(str, found)) or "none"
      which = "" if step is None else f" of step {step}"
      raise FileNotFoundError(
        f"no checkpoint{which} in {self.directory} (there: {there})"
      )
    skipped: list[str] = []
    for at in wanted:
      try:
        record = files.read(found[at])
        files.check(found[at], record, bytes_too=self._verify)
      except files.DamagedError as e:
        skipped.append(f"checkpoint {found[at]} is damaged ({e})")
        continue
      for problem in skipped:
        _log.warning("%s; falling back to that of step %d", problem, at)
      state = self._read(found[at], record, abstract_state, partial)
      return Restored(at, state, record["extra"], tuple(skipped))
    raise ValueError("no whole checkpoint: " + "; ".join(skipped))

  def _read(
    self,
    path: pathlib.Path,
    record: Mapping[str, Any],
    abstract_state: Any,
    partial: bool,
  ) -> Any:
    recorded, wanted = record["leaves"], trees.flatten(abstract_state)
    where = f"checkpoint {path}"
    trees.refuse_misfit(recorded, wanted, where, partial=partial)
    ocp, orbax = self._load_orbax()
    item, arguments = trees.restore_arguments(ocp, recorded, wanted)
    stored = {}
    if item:
      with _quiet():
        stored = orbax.restore(
          path / "state",
          args=ocp.args.PyTreeRestore(
            item=item, restore_args=arguments, partial_restore=True
          ),
        )
    return trees.from_store(stored, recorded, abstract_state, wanted)

  def _load_orbax(self) -> tuple[Any, Any]:
    # Here, as it takes a quarter of a second and not every command needs it.
    import orbax.checkpoint as ocp

    if self._orbax is None:
      handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True)
      self._orbax = ocp.AsyncCheckpointer(handler, timeout_secs=3600)
    return ocp, self._orbax

  def save(
    self, step: int, state: Any, extra: Mapping[str, Any] | None = None
  ) -> None:
    """Copies the state off the devices and returns; the rest is done behind.

    The state may be donated as soon as this returns. Waits for the save before
    and raises its error, if any. When done, checkpoints of later steps, which
    a run that was set back has left, are removed.

    Args:
      step: 0 or more.
      state: tree of arrays.
      extra: small JSON data, restored exactly (tuples become lists).

    Raises:
      OSError: the disk is full (ENOSPC): here if that is known before, else
        from the next `save`, `wait` or `close`. The checkpoint before is whole.
      ValueError: the state has a leaf that is no array; `extra` is not JSON.
    """
    self.wait()
    leaves = trees.flatten(state)
    record = {"format": 1, "step": int(step), "extra": _as_json(extra or {})}
    record["leaves"] = trees.describe(leaves)
    needed = trees.num_bytes(leaves)
    temp = files.temporary(self.directory, step)
    self._prepare(step, needed)
    ocp, orbax = self._load_orbax()
    quiet = contextlib.ExitStack()
    quiet.enter_context(_quiet())
    try:
      orbax.save(
        temp / "state", args=ocp.args.PyTreeSave(trees.to_store(leaves))
      )
    except BaseException as e:
      quiet.close()
      raise self._explain(e, step, needed) from None

    def finish() -> None:
      try:
        orbax.wait_until_finished()
        if jax.process_index() == 0:
          files.commit(self.directory, step, record)
          files.prune(self.directory, step, self._keep, self._keep_every)
      except BaseException as e:  # Raised by whoever waits.
        self._error = self._explain(e, step, needed)
      finally:
        quiet.close()

    self._thread = threading.Thread(target=finish, name=f"checkpoint-{step}")
    self._thread.start()

  def _prepare(self, step: int, needed: int) -> None:
    """Clears what a kill left behind, and refuses what cannot fit."""
    self.directory.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
      files.clear(self.directory)
    usage = shutil.disk_usage(self.directory)
    if usage.total and usage.free < needed:
      raise self._no_space(step, needed)

  def _explain(
    self, error: BaseException, step: int, needed: int
  ) -> BaseException:
    """The error of a save as a user should see it; its remains are removed."""
    temp = files.temporary(self.directory, step)
    shutil.rmtree(temp, ignore_errors=True)
    code = error.errno if isinstance(error, OSError) else None
    full = code in (errno.ENOSPC, errno.EDQUOT)
    if full or any(x in str(error).lower() for x in _NO_SPACE):
      return self._no_space(step, needed)
    error.add_note(f"while saving the checkpoint of step {step}")
    return error

  def _no_space(self, step: int, needed: int) -> OSError:
    free = shutil.disk_usage(self.directory).free
    last = self.latest()
    before = "there is no earlier one"
    if last is not None:
      before = f"that of step {last} is whole"
    return OSError(
      errno.ENOSPC,
      f"disk full: the checkpoint of step {step} needs about {needed} bytes in "
      f"{self.directory}, where {free} are free ({before}); make room and run "
      "the same command again to resume",
    )

  def wait(self) -> None:
    """Returns when the last save is whole on disk; raises its error, if any."""
    if self._thread is not None:
      self._thread.join()
      self._thread = None
    if self._error is not None:
      error, self._error = self._error, None
      raise error

  def close(self) -> None:
    """Waits, and lets the threads of Orbax go."""
    try:
      self.wait()
    finally:
      if self._orbax is not None:
        self._orbax.close()
        self._orbax = None

  def __enter__(self) -> "Checkpointer":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _as_json(extra: Mapping[str, Any]) -> dict[str, Any]:
  try:
    return json.loads(json.dumps(dict(extra)))
  except TypeError as e:
    raise ValueError(f"extra: {e}; arrays belong in the state") from e


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Drops what Orbax logs meanwhile: its errors are raised, once, by us."""
  drop: Callable[[logging.LogRecord], bool] = lambda record: (
    "orbax" not in pathlib.Path(record.pathname).parts
  )
  logger = logging.getLogger("absl")
  logger.addFilter(drop)
  try:
    yield
  finally:
    logger.removeFilter(drop)
