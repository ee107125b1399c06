"""A Hugging Face tokenizer directory as a `Tokenizer`."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from rlx.tokenizer import protocol


def load(
  directory: str | pathlib.Path, chat_template: str | None = None
) -> "HFTokenizer":
  """Opens the tokenizer of a local directory; nothing is downloaded.

  Code in the directory is never run. Stop tokens are the `eos_token_id`s of
  `generation_config.json`, the tokenizer's EOS, and the token with which the
  chat template closes an assistant's turn.

  Args:
    directory: with `tokenizer.json`, `tokenizer_config.json` and so on.
    chat_template: a Jinja template to use in place of the directory's own.

  Raises:
    ValueError: there is no such directory, or no tokenizer in it.
  """
  # Imported here: transformers takes a second, and scratch vocabularies and
  # `rlx --help` do without.
  import transformers

  directory = pathlib.Path(directory)
  if not directory.is_dir():
    raise ValueError(f"no directory {directory} to load a tokenizer from")
  try:
    hf = transformers.AutoTokenizer.from_pretrained(
      str(directory), local_files_only=True, trust_remote_code=False
    )
  except (OSError, ValueError) as error:
    found = sorted(p.name for p in directory.iterdir())
    raise ValueError(
      f"no usable tokenizer in {directory} (files: {found}): {error}"
    ) from error
  if chat_template is not None:
    hf.chat_template = chat_template
  return HFTokenizer(hf, str(directory), _generation_stop_ids(directory))


def _generation_stop_ids(directory: pathlib.Path) -> list[int]:
  path = directory / "generation_config.json"
  if not path.is_file():
    return []
  ids = json.loads(path.read_text()).get("eos_token_id")
  return ids if isinstance(ids, list) else [] if ids is None else [ids]


class _Rewrites(ValueError):
  """The template does not only append."""


class HFTokenizer:
  """A transformers tokenizer; `load` makes one."""

  def __init__(self, hf: Any, name: str, stop_ids: Sequence[int] = ()):
    """Reads ids off a transformers tokenizer.

    Args:
      hf: the tokenizer.
      name: what errors call it; the directory, say.
      stop_ids: further stop tokens, of the generation config.
    """
    self._hf, self._name = hf, name
    self.vocab_size = max(hf.get_vocab().values()) + 1
    word = _ordinary_word(hf)
    self._talk = [
      {"role": "user", "content": word},
      {"role": "assistant", "content": word},
    ]
    closing = [] if hf.chat_template is None else self._closing(list(stop_ids))
    eos = [] if hf.eos_token_id is None else [hf.eos_token_id]
    self.stop_ids = tuple(dict.fromkeys([*closing, *stop_ids, *eos]))
    if not self.stop_ids:
      raise ValueError(
        f"{name} names no token that ends a turn: set eos_token in"
        " tokenizer_config.json or eos_token_id in generation_config.json"
      )
    pad = hf.pad_token_id
    # Any id serves, as masks tell padding; EOS is what the field falls back to.
    self.pad_id = self.stop_ids[-1] if pad is None else pad
    bos = hf.bos_token_id
    self.bos_ids = (bos,) if bos is not None and bos in hf.encode("") else ()
    self._said: list[int] | None = None

  def _closing(self, stop_ids: list[int]) -> list[int]:
    """The last special token of an assistant's turn, where there is one."""
    before = self.chat(self._talk[:1])
    turn = self.chat(self._talk, add_generation_prompt=False)
    # A template that rewrites history may share less than all of `before`.
    shared = next(
      (i for i, (a, b) in enumerate(zip(before, turn, strict=False)) if a != b),
      len(before),
    )
    special = {*self._hf.all_special_ids, *stop_ids}
    return [i for i in turn[shared:] if i in special][-1:]

  def encode(self, text: str) -> list[int]:
    """The tokens of `text`; no special token is added."""
    return self._hf.encode(text, add_special_tokens=False)

  def decode(
    self, ids: Sequence[int], *, skip_special_tokens: bool = True
  ) -> str:
    """The text of `ids`, spaces left as they are."""
    return self._hf.decode(
      list(ids),
      skip_special_tokens=skip_special_tokens,
      clean_up_tokenization_spaces=False,
    )

  def chat(
    self, messages: protocol.Messages, add_generation_prompt: bool = True
  ) -> list[int]:
    """The tokens of a conversation by the directory's chat template.

    Raises:
      ValueError: there is no template, or it refuses the messages.
    """
    return self._apply(messages, add_generation_prompt, True)

  def _apply(
    self, messages: protocol.Messages, generate: bool, tokenize: bool
  ) -> Any:
    # Imported here for start-up; transformers needs it for templates too.
    import jinja2

    if self._hf.chat_template is None:
      raise ValueError(
        f"{self._name} has no chat template: give plain text prompts, or pass"
        " one to rlx.tokenizer.load(directory, chat_template)"
      )
    try:
      return self._hf.apply_chat_template(
        [dict(message) for message in messages],
        add_generation_prompt=generate,
        tokenize=tokenize,
        return_dict=False,
      )
    except jinja2.TemplateError as error:
      roles = [message["role"] for message in messages]
      raise ValueError(
        f"the chat template of {self._name} refuses messages with the roles"
        f" {roles}: {error}"
      ) from error

  def turn(self, observation: str) -> list[int]:
    """What follows the stop token of an assistant's turn; by extension only.

    Raises:
      ValueError: the chat template rewrites the turns before, as templates do
        that take the reasoning out of past turns.
    """
    if self._said is None:  # Asked of every turn, and always the same.
      for talk in self._talks():
        self._check_appends(talk)
      self._said = self._closed()
    user = {"role": "user", "content": observation}
    return self.chat([*self._talk, user])[len(self._said) :]

  @property
  def rewrites(self) -> bool:
    """Whether the chat template changes earlier turns when a message is added."""
    try:
      self.turn("")
    except _Rewrites:
      return True
    return False

  def follow(
    self, ids: Sequence[int], messages: protocol.Messages
  ) -> list[int] | None:
    """What to append to `ids` for them to read as the conversation, if anything.

    They are compared as text, as what was sampled is often not how the tokenizer
    would have written it. What is appended is encoded on its own.
    """
    whole = self.chat(messages)
    if whole[: len(ids)] == list(ids):
      return whole[len(ids) :]
    before, after = (
      self.decode(x, skip_special_tokens=False) for x in (ids, whole)
    )
    if not after.startswith(before):
      return None
    return self.encode(after[len(before) :])

  def _talks(self) -> list[list[dict[str, str]]]:
    """Conversations that templates are known to rewrite."""
    user, answer = self._talk
    word = answer["content"]
    thought = f"<think>\n{word}\n</think>\n\n{word}"
    return [self._talk, [user, {**answer, "content": thought}]]

  def _closed(self) -> list[int]:
    """The tokens of a conversation, up to what closes its last turn."""
    ids = self.chat(self._talk, add_generation_prompt=False)
    if self.stop_ids[0] not in ids:
      return ids
    return ids[: len(ids) - ids[::-1].index(self.stop_ids[0])]

  def _check_appends(self, talk: protocol.Messages) -> None:
    # As text, since some tokenizers know few words.
    said = self._apply(talk, False, False)
    stop = self.decode(self.stop_ids[:1], skip_special_tokens=False)
    if stop in said:
      said = said[: said.rindex(stop) + len(stop)]
    whole = self._apply([*talk, {"role": "user", "content": ""}], True, False)
    if not whole.startswith(said):
      raise _Rewrites(
        f"the chat template of {self._name} rewrites earlier turns when a"
        " message is added, so that a conversation cannot be continued token"
        f" by token: {said!r} became {whole!r}. Pass a template that only"
        " appends to rlx.tokenizer.load, or set"
        " rollout.rewriting_templates=segment"
      )

  def save(self, directory: str | pathlib.Path) -> None:
    """Writes the tokenizer files, the chat template included."""
    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    self._hf.save_pretrained(str(directory))


def _ordinary_word(hf: Any) -> str:
  """A word of the vocabulary to fill in a template: some know few words."""
  for i in sorted(set(hf.get_vocab().values()) - {*hf.all_special_ids}):
    word = hf.decode([i]).strip()
    if word.isalnum():
      return word
  return ""
