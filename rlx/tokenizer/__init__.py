"""Text to tokens and back.

Tokens are the only record. A prompt is rendered once with `chat` (or `encode`),
what follows an assistant's turn comes from `turn`, and nothing is ever decoded
and encoded again to train on. Masks and lengths never depend on a token's id.

`WordTokenizer` and `ByteTokenizer` need no download; `load` opens a Hugging
Face directory, theirs included.
"""

from rlx.tokenizer.huggingface import HFTokenizer, load
from rlx.tokenizer.protocol import (
  Messages,
  Rewriting,
  Tokenizer,
  check_fits,
)
from rlx.tokenizer.scratch import ByteTokenizer, WordTokenizer

__all__ = [
  "ByteTokenizer",
  "HFTokenizer",
  "Messages",
  "Rewriting",
  "Tokenizer",
  "WordTokenizer",
  "check_fits",
  "load",
]
