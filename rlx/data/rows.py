"""Forms of rows, and their checks."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

Row = Mapping[str, Any]


@runtime_checkable
class Source(Protocol):
  """Rows by index. A list of rows is one."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Any: ...


class _Mapped:
  def __init__(self, function: Callable[[Row], Row], source: Source):
    self._function, self._source = function, source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Row:
    return self._function(self._source[index])


def map_rows(function: Callable[[Row], Row], source: Source) -> Source:
  """The source whose row `i` is `function(source[i])`, made when asked for."""
  return _Mapped(function, source)


def require(row: Row, columns: tuple[str, ...], index: int) -> None:
  """Raises ValueError unless the row has all columns, listing those present."""
  missing = [name for name in columns if name not in row]
  if missing:
    raise ValueError(
      f"row {index} has no column {', '.join(map(repr, missing))};"
      f" it has {sorted(row)}"
    )


def require_rows(source: Source) -> None:
  """Raises ValueError for an empty source."""
  if not len(source):
    raise ValueError("the data set is empty: it has 0 rows")


def messages_of(value: Any, column: str, index: int) -> list[dict[str, Any]]:
  """A column's list of messages. Raises ValueError for anything else."""
  if not isinstance(value, (list, tuple)) or not value:
    raise ValueError(
      f"row {index}: {column!r} is neither text nor a list of messages, but"
      f" {type(value).__name__} {str(value)[:60]!r}"
    )
  for message in value:
    if not (
      isinstance(message, Mapping) and {"role", "content"} <= set(message)
    ):
      raise ValueError(
        f"row {index}: a message of {column!r} has no 'role' and 'content':"
        f" {str(message)[:60]!r}"
      )
  return [dict(message) for message in value]


def from_verl(row: Row) -> dict[str, Any]:
  """A verl row with `ground_truth` lifted out of `reward_model`.

  verl's columns are `data_source, prompt, ability, reward_model: {"style",
  "ground_truth"}, extra_info`; all of them stay.

  Raises:
    ValueError: a column is missing.
  """
  require(row, ("data_source", "prompt", "reward_model"), 0)
  return {**row, "ground_truth": row["reward_model"]["ground_truth"]}
