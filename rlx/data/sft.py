"""Demonstrations as arrays: tokens, and which of them to learn."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from rlx import tokenizer as tokenizers
from rlx.data import prompts, rows


class SFTBatch(NamedTuple):
  """Padded or packed demonstrations; entry `t` of each describes token `t`.

  Attributes:
    tokens: from the left, then padding.
    mask: the assistant's tokens, the token that ends its turn included.
    segments: which demonstration of its line, from 1; 0 is padding.
    positions: from 0 in each segment; 0 in padding.
    cursor: where the batch after this one begins.
  """

  tokens: Int[np.ndarray, "B L"]
  mask: Bool[np.ndarray, "B L"]
  segments: Int[np.ndarray, "B L"]
  positions: Int[np.ndarray, "B L"]
  cursor: int


Rendered = tuple[list[int], list[bool]]


def render(
  row: rows.Row, tokenizer: tokenizers.Tokenizer, index: int = 0
) -> Rendered:
  """The tokens of a demonstration and its mask: True where to learn.

  `messages` wins over `prompt` and `completion`, and every assistant's turn of
  it is learnt; else those of the completion only. After a completion that is
  plain text stands the first stop token, which is learnt too.

  Args:
    row: with `messages`, or with `prompt` and `completion`, both text or both
      messages.
    tokenizer: any.
    index: the row's number, for errors.

  Raises:
    ValueError: naming the row: columns are missing or of two forms, nothing
      is to be learnt, or the chat template rewrites earlier turns.
  """
  if "messages" in row:
    messages = rows.messages_of(row["messages"], "messages", index)
    return _conversation(messages, 0, tokenizer, index)
  if not {"prompt", "completion"} <= set(row):
    raise ValueError(
      f"row {index} has neither 'messages' nor 'prompt' and 'completion';"
      f" it has {sorted(row)}"
    )
  prompt, completion = row["prompt"], row["completion"]
  if isinstance(prompt, str) != isinstance(completion, str):
    raise ValueError(
      f"row {index}: 'prompt' is {type(prompt).__name__} but 'completion' is"
      f" {type(completion).__name__}: both are text, or both messages"
    )
  if isinstance(completion, str):
    before = prompts.prompt_tokens(row, tokenizer, index)
    after = [*tokenizer.encode(completion), tokenizer.stop_ids[0]]
    return before + after, [False] * len(before) + [True] * len(after)
  before = rows.messages_of(prompt, "prompt", index)
  after = rows.messages_of(completion, "completion", index)
  return _conversation([*before, *after], len(before), tokenizer, index)


def _conversation(
  messages: list[dict[str, Any]],
  first: int,
  tokenizer: tokenizers.Tokenizer,
  index: int,
) -> Rendered:
  """A conversation whose assistant turns from message `first` on are learnt."""
  tokens = tokenizer.chat(messages, add_generation_prompt=False)
  mask = [False] * len(tokens)
  for i in range(first, len(messages)):
    if messages[i]["role"] == "assistant":
      begin = len(_prefix(tokens, messages[:i], True, tokenizer, index))
      end = _end_of_turn(tokens, begin, messages[: i + 1], tokenizer, index)
      mask[begin:end] = [True] * (end - begin)
  if not any(mask):
    roles = [message["role"] for message in messages[first:]]
    raise ValueError(
      f"row {index}: no assistant's turn to learn among the roles {roles}"
    )
  return tokens, mask


def _end_of_turn(tokens, begin, messages, tokenizer, index) -> int:
  for t in range(begin, len(tokens)):
    if tokens[t] in tokenizer.stop_ids:
      return t + 1
  # The template closes no turn with a stop token: learn all that it adds.
  return len(_prefix(tokens, messages, False, tokenizer, index))


def _prefix(tokens, messages, generate, tokenizer, index) -> list[int]:
  """The first messages alone, which must be how `tokens` begins."""
  before = tokenizer.chat(messages, add_generation_prompt=generate)
  if tokens[: len(before)] != before:
    raise ValueError(
      f"row {index}: the chat template rewrites earlier turns when a message"
      f" is added after message {len(messages) - 1}: "
      f"{tokenizer.decode(before, skip_special_tokens=False)[-80:]!r} is not"
      " how the whole conversation goes on there"
    )
  return before


def sft_rows(
  source: rows.Source,
  tokenizer: tokenizers.Tokenizer,
  *,
  length: int | None = None,
  pack: bool = False,
) -> SFTBatch:
  """All rows of a small source as arrays; what is beyond `length` is cut.

  Args:
    source: rows as `render` takes them.
    tokenizer: any.
    length: tokens of a line; that of the longest row if None.
    pack: several rows to a line, each in the first line with room for it.
  """
  rows.require_rows(source)
  rendered = [render(source[i], tokenizer, i) for i in range(len(source))]
  longest = max(len(tokens) for tokens, _ in rendered)
  width = longest if length is None else length
  lines: list[list[Rendered]] = []
  for item in rendered:
    if not (pack and _place(lines, _cut(item, width), width)):
      lines.append([_cut(item, width)])
  return _arrays(lines, width, tokenizer.pad_id, len(rendered))


def sft_batches(
  source: rows.Source,
  tokenizer: tokenizers.Tokenizer,
  *,
  batch_size: int,
  length: int,
  seed: int,
  cursor: int = 0,
  pack: bool = False,
  long_rows: Literal["error", "drop", "truncate"] = "error",
  shuffle: bool = True,
  num_epochs: int | None = None,
) -> Iterator[SFTBatch]:
  """Yields batches of `batch_size` lines; the same for the same seed, cursor.

  Rows come in the order of `data.batches`. Packed, a batch ends before the
  first row that fits none of its lines. The last batch of a finite number of
  epochs is filled up with lines of padding.

  Args:
    source: rows as `render` takes them.
    tokenizer: any.
    batch_size: lines of a batch.
    length: tokens of a line.
    seed: of the order.
    cursor: rows already consumed.
    pack: several rows to a line.
    long_rows: "error" counts rows longer than `length` and refuses them,
      "drop" leaves them out, "truncate" cuts their end off.
    shuffle: False keeps the order of the source.
    num_epochs: None is without end.

  Raises:
    ValueError: when called, from a pass over all rows: any error of `render`,
      no rows, or rows that are too long.
  """
  rows.require_rows(source)
  lines = _Lines(source, tokenizer, length)
  lengths = lines.lengths
  kept = [i for i, n in enumerate(lengths) if n <= length]
  found = (
    f"{len(lengths) - len(kept)} of {len(lengths)} rows are longer than"
    f" length={length} (longest {max(lengths)})"
  )
  if len(kept) < len(lengths) and long_rows == "error":
    raise ValueError(
      f"{found}: raise it, or set long_rows to 'drop' or 'truncate'"
    )
  if not kept and long_rows == "drop":
    raise ValueError(f"{found}: none are left")
  indices = kept if long_rows == "drop" else range(len(lengths))
  order = prompts.row_order(len(indices), seed, shuffle, num_epochs)
  row = lambda consumed: lines[indices[int(order[consumed])]]
  shape = (batch_size, length, pack, tokenizer.pad_id)
  return _batches(row, len(order), cursor, *shape)


class _Lines:
  """Rendered rows, cut to a length; kept as far as they are few."""

  MAX_KEPT = 1 << 20  # Tokens: about 16 MB.

  def __init__(
    self, source: rows.Source, tokenizer: tokenizers.Tokenizer, length: int
  ):
    self._source, self._tokenizer, self._length = source, tokenizer, length
    self._kept: dict[int, Rendered] = {}
    self.lengths: list[int] = []
    room = self.MAX_KEPT
    for i in range(len(source)):
      line = render(source[i], tokenizer, i)
      self.lengths.append(len(line[0]))
      room -= len(line[0])
      if room >= 0:
        self._kept[i] = _cut(line, length)

  def __getitem__(self, index: int) -> Rendered:
    if index in self._kept:
      return self._kept[index]
    line = render(self._source[index], self._tokenizer, index)
    return _cut(line, self._length)


def _batches(row, num_rows, cursor, batch_size, length, pack, pad_id):
  while cursor < num_rows:
    lines: list[list[Rendered]] = []
    while cursor < num_rows:
      item = row(cursor)
      if not (pack and _place(lines, item, length)):
        if len(lines) == batch_size:
          break
        lines.append([item])
      cursor += 1
    lines += [[] for _ in range(batch_size - len(lines))]
    yield _arrays(lines, length, pad_id, cursor)


def _cut(item: Rendered, length: int) -> Rendered:
  return item[0][:length], item[1][:length]


def _place(lines: list[list[Rendered]], item: Rendered, length: int) -> bool:
  """Puts the item in the first line with room; False if there is none."""
  for line in lines:
    if sum(len(tokens) for tokens, _ in line) + len(item[0]) <= length:
      line.append(item)
      return True
  return False


def _arrays(
  lines: Sequence[Sequence[Rendered]], length: int, pad_id: int, cursor: int
) -> SFTBatch:
  shape = (len(lines), length)
  tokens = np.full(shape, pad_id, np.int32)
  mask = np.zeros(shape, bool)
  segments = np.zeros(shape, np.int32)
  positions = np.zeros(shape, np.int32)
  for b, line in enumerate(lines):
    start = 0
    for segment, (ids, learnt) in enumerate(line, start=1):
      span = slice(start, start + len(ids))
      tokens[b, span], mask[b, span] = ids, learnt
      segments[b, span] = segment
      positions[b, span] = np.arange(len(ids))
      start += len(ids)
  return SFTBatch(tokens, mask, segments, positions, cursor)
