"""Random access to rows on disk."""

import array
import json
import pathlib
from typing import Any


class JsonLines:
  """The rows of a JSON-lines file by index; only line offsets are in memory.

  Blank lines are skipped. The file is opened for each read, so a source may be
  used from any thread or process.
  """

  def __init__(self, path: str | pathlib.Path):
    """Indexes the file.

    Raises:
      ValueError: there is no such file, or it has no rows.
    """
    self._path = pathlib.Path(path)
    if not self._path.is_file():
      raise ValueError(f"no file {self._path}")
    self._starts, start = array.array("q"), 0
    with self._path.open("rb") as file:
      for line in file:
        if line.strip():
          self._starts.append(start)
        start += len(line)
    if not self._starts:
      raise ValueError(f"the data set {self._path} is empty: it has 0 rows")

  def __len__(self) -> int:
    return len(self._starts)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Row `index`. Raises ValueError naming the line if it is no object."""
    with self._path.open("rb") as file:
      file.seek(self._starts[index])
      line = file.readline()
    try:
      row = json.loads(line)
    except ValueError as error:
      raise ValueError(f"{self._where(index)} is not JSON: {error}") from error
    if not isinstance(row, dict):
      raise ValueError(f"{self._where(index)} is not an object: {line[:60]!r}")
    return row

  def _where(self, index: int) -> str:
    with self._path.open("rb") as file:
      number, start = 1, 0
      while start < self._starts[index]:
        start += len(file.readline())
        number += 1
    return f"line {number} of {self._path}"
