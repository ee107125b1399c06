"""Two tokenizers made from scratch: a closed set of words, and bytes."""

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from rlx.tokenizer import protocol


class WordTokenizer:
  """Whitespace-separated words of a small closed vocabulary.

  A conversation is, without spaces:

      <system> words <user> words <assistant> words <end> <user> ...

  so that a turn costs three tokens, and `<end>` is the only stop token. The
  words follow `specials` in the order given: `encode` is the inverse of
  `decode` up to whitespace, `decode(encode(x)) == " ".join(x.split())`.
  """

  def __init__(
    self,
    words: Iterable[str],
    specials: Sequence[str] = (
      "<pad>",
      "<end>",
      "<system>",
      "<user>",
      "<assistant>",
    ),
  ):
    """Numbers the vocabulary.

    Args:
      words: the vocabulary, without repetition; no word contains whitespace.
      specials: padding, end of turn, then the marker `<role>` of each role.
        They are never produced by `encode`.

    Raises:
      ValueError: a word is repeated or could never be matched.
    """
    self._vocab: list[str] = [*specials, *words]
    self._ids = {word: i for i, word in enumerate(self._vocab)}
    if len(self._ids) < len(self._vocab):
      repeated = {w for w in self._vocab if self._vocab.count(w) > 1}
      raise ValueError(f"words given more than once: {sorted(repeated)}")
    for word in self._vocab:
      if word.split() != [word]:
        raise ValueError(f"{word!r} is empty or contains whitespace")
    for marker in specials[2:]:
      if not (marker.startswith("<") and marker.endswith(">")):
        raise ValueError(f"the marker of a role is <role>, not {marker!r}")
    self._num_specials = len(specials)
    self._roles = {s[1:-1]: self._ids[s] for s in specials[2:]}
    self.vocab_size = len(self._vocab)
    self.pad_id = 0
    self.stop_ids = (1,)
    self.bos_ids: tuple[int, ...] = ()

  def encode(self, text: str) -> list[int]:
    """The tokens of `text`. Raises ValueError naming an unknown word."""
    ids = []
    for position, word in enumerate(text.split()):
      index = self._ids.get(word, -1)
      if index < self._num_specials:
        kind = "a special token" if index >= 0 else "not in the vocabulary"
        raise ValueError(
          f"word {position} of the text, {word!r}, is {kind} (the"
          f" {self.vocab_size - self._num_specials} words known are:"
          f" {_excerpt(' '.join(self._vocab[self._num_specials :]))})"
        )
      ids.append(index)
    return ids

  def decode(
    self, ids: Sequence[int], *, skip_special_tokens: bool = True
  ) -> str:
    """The words of `ids`, with one space between two.

    Ids beyond the vocabulary, which a larger embedding has, are no words.
    """
    first = self._num_specials if skip_special_tokens else 0
    known = range(first, self.vocab_size)
    return " ".join(self._vocab[i] for i in ids if i in known)

  def chat(
    self, messages: protocol.Messages, add_generation_prompt: bool = True
  ) -> list[int]:
    """The tokens of a conversation."""
    return _chat(
      messages,
      add_generation_prompt,
      self._roles,
      self.stop_ids[0],
      self.encode,
    )

  def turn(self, observation: str) -> list[int]:
    """`<user>`, the observation, `<assistant>`."""
    return self.chat([{"role": "user", "content": observation}])

  def save(self, directory: str | pathlib.Path) -> None:
    """Writes files that transformers loads with the same ids.

    There, the text of a special token is read as that token and not refused.
    """
    # Imported here: start-up is faster without, and few runs save.
    import tokenizers
    from tokenizers import models, pre_tokenizers

    backend = tokenizers.Tokenizer(
      models.WordLevel(vocab=self._ids, unk_token="<unknown word>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = self._vocab[: self._num_specials]
    _write(directory, backend, specials, pad=0, eos=1, bos=None)


class ByteTokenizer:
  """UTF-8 bytes. Ids: 0 padding, 1 BOS, 2 end, 3 to 258 bytes, then roles.

  A conversation is BOS, then as for `WordTokenizer`: the role's marker (259
  system, 260 user, 261 assistant), the content's bytes, and after an
  assistant's content the end token, the only stop token.
  """

  vocab_size = 262
  pad_id = 0
  bos_ids = (1,)
  stop_ids = (2,)
  _roles: Mapping[str, int] = {"system": 259, "user": 260, "assistant": 261}
  _names: Mapping[int, str] = {0: "<pad>", 1: "<bos>", 2: "<eos>"} | {
    i: f"<{role}>" for role, i in _roles.items()
  }

  def encode(self, text: str) -> list[int]:
    """The bytes of `text`, each plus 3."""
    return [byte + 3 for byte in text.encode()]

  def decode(
    self, ids: Sequence[int], *, skip_special_tokens: bool = True
  ) -> str:
    """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
    pieces = bytearray()
    for i in ids:
      if 3 <= i < 259:
        pieces.append(i - 3)
      elif not skip_special_tokens and i in self._names:
        pieces.extend(self._names[i].encode())
    return pieces.decode(errors="replace")

  def chat(
    self, messages: protocol.Messages, add_generation_prompt: bool = True
  ) -> list[int]:
    """The tokens of a conversation."""
    return [*self.bos_ids, *self._markup(messages, add_generation_prompt)]

  def _markup(self, messages: protocol.Messages, generate: bool) -> list[int]:
    return _chat(messages, generate, self._roles, self.stop_ids[0], self.encode)

  def turn(self, observation: str) -> list[int]:
    """The user's marker, the observation, the assistant's marker."""
    return self._markup([{"role": "user", "content": observation}], True)

  def save(self, directory: str | pathlib.Path) -> None:
    """Writes files that transformers loads with the same ids.

    There, the text of a special token is read as that token, not as bytes.
    """
    import tokenizers  # Here for the same reason as above.
    from tokenizers import decoders, models, pre_tokenizers, processors

    vocab = {self._names[i]: i for i in range(3)}
    vocab |= {symbol: i + 3 for i, symbol in enumerate(_byte_symbols())}
    vocab |= {self._names[i]: i for i in range(259, 262)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(
      add_prefix_space=False, use_regex=False
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
      single="<bos> $A", special_tokens=[("<bos>", self.bos_ids[0])]
    )
    _write(directory, backend, list(self._names.values()), pad=0, eos=2, bos=1)


def _chat(
  messages: protocol.Messages,
  add_generation_prompt: bool,
  roles: Mapping[str, int],
  end: int,
  encode: Callable[[str], list[int]],
) -> list[int]:
  ids = []
  for message in messages:
    role = message["role"]
    if role not in roles:
      raise ValueError(f"role {role!r} is not one of {sorted(roles)}")
    ids += [roles[role], *encode(message["content"])]
    if role == "assistant":
      ids.append(end)
  return ids + [roles["assistant"]] * add_generation_prompt


def _excerpt(text: str, length: int = 120) -> str:
  return text if len(text) <= length else text[: length - 4] + " ..."


def _byte_symbols() -> list[str]:
  """GPT-2's printable stand-in for each byte, as ByteLevel expects them."""
  printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
  symbols, spare = [], 256
  for byte in range(256):
    symbols.append(chr(byte if byte in printable else spare))
    spare += byte not in printable
  return symbols


def _write(directory, backend, specials: list[str], pad, eos, bos) -> None:
  """Writes what transformers reads, the chat template included."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  backend.add_special_tokens(specials)
  backend.save(str(directory / "tokenizer.json"))
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": specials[pad],
    "eos_token": specials[eos],
    "bos_token": None if bos is None else specials[bos],
    "extra_special_tokens": [],
    "clean_up_tokenization_spaces": False,
    "model_max_length": int(1e30),
    "chat_template": ("" if bos is None else "{{ bos_token }}")
    + "{% for message in messages %}"
    + "{{ '<' + message['role'] + '>' + message['content'] }}"
    + "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    + "{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}",
  }
  (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
