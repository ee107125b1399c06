"""Segmenters: where the completion of a prompt is cut into steps.

A segmenter is a function of one completion that returns cuts, increasing: how
many of its tokens stand before each. The cut 0 is the prompt's end. It may
return more than a plan has room for, see `thin`.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rlx import tokenizer as tokenizers


class Written(NamedTuple):
  """One completion.

  Attributes:
    tokens: int [N].
    log_probs: float [N], of the sampler over the whole vocabulary.
    tokenizer: of the model.
  """

  tokens: np.ndarray
  log_probs: np.ndarray
  tokenizer: tokenizers.Tokenizer


Segmenter = Callable[[Written], np.ndarray]


def every(size: int) -> Segmenter:
  """A cut behind every `size` tokens.

  Raises:
    ValueError: size is not positive.
  """
  if size < 1:
    raise ValueError(f"size={size}: a step has 1 token or more")
  return lambda written: np.arange(size, len(written.tokens), size)


def cut(threshold: float, interval: int) -> Segmenter:
  """A cut before every `interval`-th token that was uncertain.

  A token is uncertain where its probability was below `threshold`; the first
  that is has a cut before it, even where that is the prompt's end.

  Source: Guo et al. 2025 (SPO-chain), arXiv:2505.23564. [code]

  Raises:
    ValueError: interval is not positive.
  """
  if interval < 1:
    raise ValueError(f"interval={interval}: must be 1 or more")

  def f(written):
    return np.flatnonzero(np.exp(written.log_probs) < threshold)[::interval]

  return f


# What a sentence begins with in which the reasoning turns.
MARKERS = (
  *("wait", "but", "however", "alternatively", "hmm", "hold on"),
  *("similarly", "so", "let me", "therefore", "maybe", "perhaps"),
)


def words(
  *,
  markers: Sequence[str] = MARKERS,
  first: int = 1000,
  apart: int = 400,
  end: str = "</think>",
) -> Segmenter:
  """Cuts at ends of sentences before a word of hesitation, and before `end`.

  A text without `end` is cut up to its end. Where the cut lies within a token,
  that token belongs to what follows.

  Args:
    markers: words, in lower case, of which case does not matter.
    first: characters before the first cut.
    apart: characters between two cuts, the one before `end` excepted.
    end: what closes the reasoning.

  Source: Yue et al. 2025 (VSRM), arXiv:2508.10293; the last four markers are
  ours. [code]
  """
  marked = "|".join(re.escape(word) for word in markers)
  turn = re.compile(rf"(?<=[.!?\n])\s*(?=\b(?:{marked})\b)", re.IGNORECASE)

  def f(written):
    text = _text(written, len(written.tokens))
    thought = text.find(end)
    places, least = [], first
    for found in turn.finditer(text, 0, thought if thought >= 0 else len(text)):
      if found.start() >= least:
        places.append(found.start())
        least = found.start() + apart
    if thought >= 0:
      places.append(thought)
    cuts = [_token_at(written, place) for place in places]
    return np.unique(np.array(cuts, np.int64))

  return f


def thin(cuts: np.ndarray, limit: int) -> np.ndarray:
  """Returns at most `limit` of the cuts: every n-th, from the first."""
  if limit < 1:
    return cuts[:0]
  return cuts[:: max(1, -(-len(cuts) // limit))]


def ids(cuts: np.ndarray, size: int) -> np.ndarray:
  """Returns the segment of each of `size` tokens: how many cuts are behind it.

  With a cut at 0 there is no segment 0.
  """
  return np.searchsorted(cuts, np.arange(size), side="right")


def _text(written: Written, count: int) -> str:
  ids = written.tokens[:count].tolist()
  return written.tokenizer.decode(ids, skip_special_tokens=False)


def _token_at(written: Written, place: int) -> int:
  """How many tokens there are whose text ends at `place` or before."""
  low, high = 0, len(written.tokens)
  while low < high:
    middle = (low + high + 1) // 2
    if len(_text(written, middle)) <= place:
      low = middle
    else:
      high = middle - 1
  return low
