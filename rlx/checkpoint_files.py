"""Directories of checkpoints: which are there, which are whole, which go.

Orbax and OCDBT notice a file that is missing, but not every damaged byte. So
each checkpoint has a `checkpoint.json`, written last, with the size and CRC-32
of every file, the leaves of the state, and the small extra data.
"""

import json
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Mapping
from typing import Any

from rlx import rundir

RECORD = "checkpoint.json"
_NAME = re.compile(r"(\.old-)?step_(\d+)")
_CHUNK = 1 << 24  # Bytes read at once.


class DamagedError(ValueError):
  """A checkpoint is not as it was written; the message says where."""


def _scan(path: pathlib.Path, *, sync: bool) -> tuple[int, int]:
  """Size and CRC-32 of a file, which is flushed to the disk if `sync`."""
  size = crc = 0
  with path.open("rb", buffering=0) as file:
    if sync:
      os.fsync(file.fileno())
    while chunk := file.read(_CHUNK):
      size, crc = size + len(chunk), zlib.crc32(chunk, crc)
  return size, crc


def _seal(record: Mapping[str, Any]) -> int:
  text = json.dumps(record, sort_keys=True)
  return zlib.crc32(text.encode())


def seal(directory: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Seals a directory whose other files are final: flushed and recorded."""
  files = {}
  for path in sorted(directory.rglob("*")):
    if path.is_file():
      name = path.relative_to(directory).as_posix()
      files[name] = _scan(path, sync=True)
  sealed = json.loads(json.dumps({**record, "files": files}))
  sealed["crc32"] = _seal(sealed)
  with (directory / RECORD).open("w", encoding="utf-8") as file:
    json.dump(sealed, file)
    file.flush()
    os.fsync(file.fileno())


def find(directory: pathlib.Path) -> dict[int, pathlib.Path]:
  """The committed checkpoints by step, ascending; damaged ones too."""
  out = {}
  entries = directory.iterdir() if directory.is_dir() else ()
  for path in sorted(entries):  # `.old-step_N` before `step_N`.
    match = _NAME.fullmatch(path.name)
    if match:
      out[int(match[2])] = path
  return dict(sorted(out.items()))


def temporary(directory: pathlib.Path, step: int) -> pathlib.Path:
  """Where the checkpoint of a step is written until it is whole."""
  return directory / f".tmp-step_{step}"


def clear(directory: pathlib.Path) -> None:
  """Tidies what a killed process left in a directory."""
  for old in directory.glob(".old-*"):
    final = directory / old.name.removeprefix(".old-")
    target = directory / f".trash-{final.name}" if final.exists() else final
    os.replace(old, target)
  for pattern in ".tmp-*", ".trash-*":
    for path in directory.glob(pattern):
      shutil.rmtree(path, ignore_errors=True)


def commit(
  directory: pathlib.Path, step: int, record: Mapping[str, Any]
) -> None:
  """Seals what was written for a step, and renames it into place."""
  temp, final = temporary(directory, step), directory / f"step_{step}"
  seal(temp, record)
  if final.exists():  # `find` takes the old one until the new is in place.
    os.replace(final, directory / f".old-{final.name}")
  os.replace(temp, final)
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)  # So that the renames survive a power cut.
  finally:
    os.close(descriptor)
  rundir.write_text(directory / "latest", f"{final.name}\n")


def prune(
  directory: pathlib.Path, newest: int, keep: int, keep_every: int
) -> None:
  """Removes all but the last `keep` up to step `newest`, and all later ones.

  Only those that look whole count.
  """
  found = find(directory)
  past = [s for s, x in found.items() if s <= newest and looks_whole(x)]
  kept = set(past[-keep:])
  if keep_every:
    kept |= {s for s in past if s % keep_every == 0}
  paths = [path for s, path in found.items() if s not in kept]
  for path in {*paths, *directory.glob(".old-*")}:
    trash = directory / f".trash-{path.name}"
    os.replace(path, trash)  # So that no half of it is ever seen.
    shutil.rmtree(trash, ignore_errors=True)


def read(directory: pathlib.Path) -> dict[str, Any]:
  """The record of a checkpoint.

  Raises:
    DamagedError: it is missing, or not as it was written.
  """
  try:
    text = (directory / RECORD).read_text(encoding="utf-8")
    record = json.loads(text)
    seal = record.pop("crc32")
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as e:
    raise DamagedError(f"{RECORD}: {type(e).__name__}: {e}") from e
  if _seal(record) != seal:
    raise DamagedError(f"{RECORD}: checksum differs")
  return record


def check(
  directory: pathlib.Path, record: Mapping[str, Any], *, bytes_too: bool
) -> None:
  """Compares the files with the record: their sizes, or every byte.

  Raises:
    DamagedError: naming the first file that differs.
  """
  for name, (size, crc) in record["files"].items():
    path = directory / name
    try:
      found = _scan(path, sync=False) if bytes_too else (path.stat().st_size,)
    except OSError as e:
      raise DamagedError(f"{name}: {e.strerror}") from e
    if found[0] != size:
      raise DamagedError(f"{name}: {found[0]} bytes instead of {size}")
    if found[1:] not in ((), (crc,)):
      raise DamagedError(f"{name}: checksum differs")


def looks_whole(directory: pathlib.Path) -> bool:
  """Whether all files are there in full length: blind to flipped bits."""
  try:
    check(directory, read(directory), bytes_too=False)
  except DamagedError:
    return False
  return True
