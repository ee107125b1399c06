"""What rlx asks of a tokenizer."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

Messages = Sequence[Mapping[str, Any]]  # Of {"role": ..., "content": ...}.


@runtime_checkable
class Tokenizer(Protocol):
  """What rlx asks of a tokenizer."""

  @property
  def vocab_size(self) -> int:
    """One more than the largest token id."""
    ...

  @property
  def pad_id(self) -> int:
    """Fills padding. It may equal another id: padding is told by masks."""
    ...

  @property
  def stop_ids(self) -> tuple[int, ...]:
    """Tokens that end a turn. The first closes a turn of the chat template."""
    ...

  @property
  def bos_ids(self) -> tuple[int, ...]:
    """What plain text begins with: one token or none."""
    ...

  def encode(self, text: str) -> list[int]:
    """The tokens of `text`; no special token is added."""
    ...

  def decode(
    self, ids: Sequence[int], *, skip_special_tokens: bool = True
  ) -> str:
    """The text of `ids`."""
    ...

  def chat(
    self, messages: Messages, add_generation_prompt: bool = True
  ) -> list[int]:
    """The tokens of a conversation, with at most one BOS.

    Args:
      messages: `{"role", "content"}`, in order.
      add_generation_prompt: end where the assistant is to begin.
    """
    ...

  def turn(self, observation: str) -> list[int]:
    """What follows the stop token of an assistant's turn.

    That is: the rest of the template's closing (a newline, often),
    `observation` as the user's message, and the generation prompt. Appending
    it to the tokens so far never changes them. If the assistant was cut off
    before it emitted a stop token, append `stop_ids[0]` first.

    Raises:
      ValueError: the chat template rewrites the turns before, see `Rewriting`.
    """
    ...

  def save(self, directory: str | pathlib.Path) -> None:
    """Writes the tokenizer files of a Hugging Face directory."""
    ...


@runtime_checkable
class Rewriting(Protocol):
  """What a tokenizer has, beside, whose chat template may change past turns.

  Many templates take the reasoning out of all turns but the last.
  """

  @property
  def rewrites(self) -> bool:
    """Whether it does so, told from conversations with and without reasoning."""
    ...

  def follow(self, ids: Sequence[int], messages: Messages) -> list[int] | None:
    """What to append to `ids` for them to read as the conversation.

    None where what they hold is not how the template begins it: it has to be
    rendered anew, with `chat`. They are compared as text.
    """
    ...


def check_fits(tokenizer: Tokenizer, vocab_size: int) -> None:
  """Refuses a tokenizer with ids beyond the model's embedding.

  Raises:
    ValueError: with both sizes. A larger embedding is fine: it is often padded.
  """
  if tokenizer.vocab_size > vocab_size:
    raise ValueError(
      f"the tokenizer has {tokenizer.vocab_size} tokens, but the model's"
      f" embedding only {vocab_size} rows: token ids would be out of range;"
      f" set --model.vocab-size {tokenizer.vocab_size} for one made from scratch"
    )
