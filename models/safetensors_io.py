"""Directories of safetensors: sliced reading, sharded and atomic writing."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_FLOATS = ("F64", "F32", "F16", "BF16")


@contextlib.contextmanager
def open_directory(
  directory: str | pathlib.Path,
) -> Iterator[dict[str, Any]]:
  """The tensors of a directory by name, each read only where it is sliced.

  Raises:
    ValueError: No safetensors (pickles are refused: opening one runs code), a
      file that the index names is absent, or one is not readable.
  """
  import safetensors  # Not needed to train from scratch: keeps start-up short.

  with contextlib.ExitStack() as stack:
    tensors = {}
    for path in _files(pathlib.Path(directory)):
      try:
        file = stack.enter_context(
          safetensors.safe_open(str(path), framework="numpy")
        )
        tensors |= {name: file.get_slice(name) for name in sorted(file.keys())}
      except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not readable: {error}") from None
    yield tensors


def _files(directory: pathlib.Path) -> list[pathlib.Path]:
  """The files that hold the tensors, whichever way they are split."""
  if not directory.is_dir():
    raise ValueError(f"{directory} is not a directory")
  if (directory / INDEX).exists():
    index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    names = sorted(set(index["weight_map"].values()))
    absent = [name for name in names if not (directory / name).exists()]
    if absent:
      raise ValueError(f"{INDEX} names files that are absent: {absent}")
    return [directory / name for name in names]
  if (directory / SINGLE).exists():
    return [directory / SINGLE]
  pickles = sorted(p.name for glob in _PICKLES for p in directory.glob(glob))
  if pickles:
    raise ValueError(
      f"{directory} has its weights as pickles only ({', '.join(pickles)});"
      " opening one runs code. Convert it to safetensors first"
    )
  raise ValueError(f"{directory} has neither {SINGLE} nor {INDEX}")


def check(
  tensors: Mapping[str, Any],
  wanted: Mapping[str, tuple[int, ...]],
  tolerated: Callable[[str], bool],
) -> None:
  """Refuses tensors that are missing, too many, misshapen or not floats.

  Args:
    wanted: Shape by name.
    tolerated: Names that may be there without being wanted.

  Raises:
    ValueError: One message with every name, and both shapes.
  """
  found = {name: tuple(t.get_shape()) for name, t in tensors.items()}
  kinds = {name: t.get_dtype() for name, t in tensors.items()}
  extra = [n for n in found if n not in wanted and not tolerated(n)]
  complaints = {
    "missing": [f"{n} {wanted[n]}" for n in wanted if n not in found],
    "not expected": [f"{n} {found[n]}" for n in extra],
    "of another shape": [
      f"{n} is {found[n]}, config.json makes it {wanted[n]}"
      for n in wanted
      if found.get(n, wanted[n]) != wanted[n]
    ],
    "not floating point": [
      f"{n} {kinds[n]}"
      for n in wanted
      if n in kinds and kinds[n] not in _FLOATS
    ],
  }
  lines = [
    f"  {kind}: {'; '.join(all_)}" for kind, all_ in complaints.items() if all_
  ]
  if lines:
    raise ValueError("the tensors do not fit config.json\n" + "\n".join(lines))


class Group(NamedTuple):
  """Tensors that are made together.

  Attributes:
    num_bytes: Of all of them.
    make: Returns them by name.
  """

  num_bytes: int
  make: Callable[[], dict[str, np.ndarray]]


def write_shards(
  directory: pathlib.Path, groups: Iterable[Group], max_shard_bytes: int
) -> None:
  """Writes groups in order, in files of at most `max_shard_bytes` each.

  One file and no index where all fit in one. A group larger than the bound has
  a file of its own. At most one file's tensors are in memory at a time.
  """
  import safetensors.numpy  # As above.

  shards, room = [], 0
  for group in groups:
    if not shards or group.num_bytes > room:
      shards.append([])
      room = max_shard_bytes
    shards[-1].append(group)
    room -= group.num_bytes
  where, total = {}, 0
  for number, shard in enumerate(shards, start=1):
    name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
    name = SINGLE if len(shards) == 1 else name
    arrays = {key: x for group in shard for key, x in group.make().items()}
    where |= dict.fromkeys(arrays, name)
    total += sum(array.nbytes for array in arrays.values())
    # transformers insists on knowing the writer's framework.
    safetensors.numpy.save_file(
      arrays, str(directory / name), metadata={"format": "pt"}
    )
  if len(shards) > 1:
    index = {"metadata": {"total_size": total}, "weight_map": where}
    text = json.dumps(index, indent=2, sort_keys=True)
    (directory / INDEX).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def new_directory(target: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """A directory to fill, which becomes `target` if nothing raises.

  Whatever goes wrong, there is either no `target` or a whole one.

  Raises:
    ValueError: `target` exists and is not an empty directory.
  """
  target = pathlib.Path(target)
  if target.exists() and not (target.is_dir() and not any(target.iterdir())):
    raise ValueError(f"{target} exists and is not an empty directory")
  target.parent.mkdir(parents=True, exist_ok=True)
  building = target.with_name(f".{target.name}.{os.getpid()}.partial")
  building.mkdir()
  try:
    yield building
    os.replace(building, target)
  finally:
    shutil.rmtree(building, ignore_errors=True)
