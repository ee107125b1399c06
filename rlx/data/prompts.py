"""Prompts as tokens, and batches of them from an integer cursor."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from rlx import tokenizer as tokenizers
from rlx.data import rows


class PromptBatch(NamedTuple):
  """Prompts of one update.

  Attributes:
    ids: unique over the run and increasing: the number of prompts that came
      before, all processes counted. Epochs differ, so it keys randomness.
    rows: the rows, with every column.
    tokens: the tokens of each prompt.
    cursor: where the batch after this one begins.
  """

  ids: list[int]
  rows: list[rows.Row]
  tokens: list[list[int]]
  cursor: int


class Prompts:
  """A source of `(row, tokens)`; `tokenise` makes one.

  Attributes:
    num_long: prompts of the source over the limit.
    longest: tokens of its longest prompt; None where it was not counted.
  """

  def __init__(
    self,
    source: rows.Source,
    tokenizer: tokenizers.Tokenizer,
    indices: list[int] | range,
    max_length: int | None,
    num_long: int = 0,
    longest: int | None = None,
  ):
    """Views the rows `indices` of a source."""
    self._source, self._tokenizer = source, tokenizer
    self._indices, self._max_length = indices, max_length
    self.num_long, self.longest = num_long, longest

  def __len__(self) -> int:
    return len(self._indices)

  def __getitem__(self, index: int) -> tuple[rows.Row, list[int]]:
    index = self._indices[index]
    row = self._source[index]
    ids = prompt_tokens(row, self._tokenizer, index)
    return row, ids if self._max_length is None else ids[-self._max_length :]


def prompt_tokens(
  row: rows.Row, tokenizer: tokenizers.Tokenizer, index: int = 0
) -> list[int]:
  """The tokens of a row's `prompt`.

  Text stands as it is, after the BOS of a tokenizer that has one. Messages go
  through the chat template, to where the assistant is to begin.

  Args:
    row: with the column `prompt`.
    tokenizer: any.
    index: the row's number, for errors.

  Raises:
    ValueError: naming the row: no prompt, or one without tokens.
  """
  rows.require(row, ("prompt",), index)
  prompt = row["prompt"]
  if isinstance(prompt, str):
    ids = [*tokenizer.bos_ids, *tokenizer.encode(prompt)]
  else:
    ids = tokenizer.chat(rows.messages_of(prompt, "prompt", index))
  if not ids:
    raise ValueError(f"row {index}: the prompt {prompt!r} has no tokens")
  return ids


def tokenise(
  source: rows.Source,
  tokenizer: tokenizers.Tokenizer,
  *,
  max_prompt_length: int | None = None,
  long_prompts: Literal["error", "drop", "truncate_left"] = "error",
) -> Prompts:
  """The prompts of a source, checked before anything compiles.

  With a limit every prompt is tokenised once here, and only lengths are kept.

  Args:
    source: rows with the column `prompt`.
    tokenizer: any.
    max_prompt_length: in tokens; None is no limit, and checks one row only.
    long_prompts: "error" counts those over the limit and refuses them, "drop"
      leaves them out, "truncate_left" keeps each one's last tokens.

  Raises:
    ValueError: no rows; a column is missing; prompts are too long.
  """
  rows.require_rows(source)
  prompt_tokens(source[0], tokenizer)
  everything = range(len(source))
  if max_prompt_length is None:
    return Prompts(source, tokenizer, everything, None)
  if max_prompt_length < 1:
    raise ValueError(f"max_prompt_length={max_prompt_length} is not positive")
  lengths = [len(prompt_tokens(source[i], tokenizer, i)) for i in everything]
  kept = [i for i in everything if lengths[i] <= max_prompt_length]
  num_long = len(lengths) - len(kept)
  found = (
    f"{num_long} of {len(lengths)} prompts are longer than"
    f" max_prompt_length={max_prompt_length} (longest {max(lengths)})"
  )
  if num_long and long_prompts == "error":
    raise ValueError(
      f"{found}: raise it, or set long_prompts to 'drop' or 'truncate_left'"
    )
  if not kept and long_prompts == "drop":
    raise ValueError(f"{found}: none are left")
  indices = kept if long_prompts == "drop" else everything
  return Prompts(
    source, tokenizer, indices, max_prompt_length, num_long, max(lengths)
  )


def batches(
  prompts: Prompts,
  *,
  num_prompts: int,
  seed: int,
  cursor: int = 0,
  shuffle: bool = True,
  num_epochs: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[PromptBatch]:
  """Yields batches of prompts; the same ones for the same seed and cursor.

  The order is a pure function of the seed: each epoch is a permutation of its
  own, of which nothing is stored. Batch boundaries may straddle epochs. So a
  run resumes from `batch.cursor`, on any number of processes: each takes its
  equal share, and together they see what one process would.

  Args:
    prompts: from `tokenise`.
    num_prompts: prompts of a batch, over all processes.
    seed: of the order, 0 to 2**32 - 1.
    cursor: prompts already consumed, over all processes.
    shuffle: False keeps the order of the source, for evaluation.
    num_epochs: None is without end. Else the last batch may be smaller.
    process_index: which share of each batch to give.
    process_count: number of shares.

  Raises:
    ValueError: when called: the batch cannot be shared equally, or a number
      is out of range.
  """
  if num_prompts < 1 or num_prompts % process_count:
    below = num_prompts - num_prompts % process_count
    raise ValueError(
      f"num_prompts={num_prompts} does not divide over {process_count}"
      f" processes; the nearest that do are"
      f" {max(below, process_count)} and {below + process_count}"
    )
  if not 0 <= process_index < process_count or cursor < 0:
    raise ValueError(
      f"process_index={process_index} of process_count={process_count},"
      f" cursor={cursor}: out of range"
    )
  order = ordered(prompts, seed, shuffle, num_epochs)
  return _batches(order, num_prompts, cursor, process_index, process_count)


class _Ordered:
  def __init__(self, source: rows.Source, order: rows.Source):
    self._source, self._order = source, order

  def __len__(self) -> int:
    return len(self._order)

  def __getitem__(self, index: int) -> Any:
    return self._source[int(self._order[index])]


def ordered(
  source: rows.Source,
  seed: int,
  shuffle: bool = True,
  num_epochs: int | None = None,
) -> rows.Source:
  """The source in the order of `batches`: item `i` comes after `i` others.

  As long as its epochs; without end, any index has an item.
  """
  order = row_order(len(source), seed, shuffle, num_epochs)
  return _Ordered(source, order)


def row_order(
  num_rows: int, seed: int, shuffle: bool, num_epochs: int | None
) -> rows.Source:
  """The row to take after `i` rows were, for any `i`: a grain data set.

  Each epoch is shuffled anew; the length is that of all epochs.
  """
  if not 0 <= seed < 2**32:
    raise ValueError(f"seed={seed} is not in 0 to 2**32 - 1")
  # Imported here for start-up: grain takes half a second.
  import grain

  order = grain.MapDataset.range(num_rows).seed(seed)
  return (order.shuffle() if shuffle else order).repeat(num_epochs)


def _batches(order, num_prompts, cursor, process_index, process_count):
  end = len(order)
  while cursor < end:
    following = min(cursor + num_prompts, end)
    share = -(-(following - cursor) // process_count)
    first = min(cursor + process_index * share, following)
    ids = list(range(first, min(first + share, following)))
    found = [order[i] for i in ids]
    cursor = following
    yield PromptBatch(
      ids, [row for row, _ in found], [tokens for _, tokens in found], cursor
    )
