"""Episodes whose chat template rewrites what was said before.

Such a conversation cannot be continued token by token: once the next message is
there, the template renders earlier turns otherwise, without their reasoning
mostly. What it says then begins a new segment of the episode: all of it is a
prompt that nobody chose, prefilled anew, and the policy writes its next turn
behind that. So every turn is learnt from in the context that it was drawn in.
"""

from typing import Any

import jax
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.rollout import engine as engines
from rlx.rollout import plan, record


def rewrites(tokenizer: tokenizers.Tokenizer) -> bool:
  """Returns whether conversations of this tokenizer can need segments."""
  return isinstance(tokenizer, tokenizers.Rewriting) and tokenizer.rewrites


def size(shape: engines.Shape) -> plan.Size:
  """Returns the size of a batch of which each turn may begin a segment."""
  return plan.Size(shape.rows * shape.turns, shape.length, 1)


def shape(whole: engines.Shape) -> engines.Shape:
  """Returns the sizes of the engine that goes on with segments."""
  return whole._replace(
    num_prompts=whole.rows,
    num_samples=1,
    prompt_tokens=whole.length - whole.action_tokens,
    turn_tokens=0,
    turns=1,
  )


class Talk:
  """One conversation.

  Attributes:
    afresh: what `follow` returned last begins a new segment.
  """

  def __init__(self, tokenizer: tokenizers.Tokenizer):
    self._tokenizer: Any = tokenizer
    self._messages: list[dict[str, str]] = []
    self.afresh = False

  def hear(self, text: str) -> None:
    """Adds what the policy is told."""
    self._messages.append({"role": "user", "content": text})

  def follow(
    self, segment: list[int], closing: list[int], spoke: str, text: str
  ) -> list[int]:
    """Returns the tokens that come before the policy's next turn.

    Args:
      segment: the tokens of the segment so far.
      closing: what closes the policy's turn, where it did not itself.
      spoke: what the policy said, and
      text: what it is told next.
    """
    self._messages.append({"role": "assistant", "content": spoke})
    self.hear(text)
    said = self._tokenizer.follow([*segment, *closing], self._messages)
    self.afresh = said is None
    if said is None:
      return self._tokenizer.chat(self._messages)
    return [*closing, *said]


def moved(log: record.Record) -> np.ndarray:
  """Returns bool [B]: rows that are not in their first segment any more."""
  assert log.breaks is not None
  return log.breaks.max(1) > 0


def write(
  engine: engines.Engine | None,
  params: Any,
  key: jax.Array,
  log: record.Record,
  rows: np.ndarray,
) -> Any:
  """Lets these rows, which have moved, write their next turn.

  Their segments are prompts of `engine`, see `shape`; the other rows of what is
  returned mean nothing. Draws depend on the prompt, the sample, the turn that
  opened the segment and the position.
  """
  assert engine is not None
  assert log.breaks is not None
  which = np.full(engine.shape.rows, rows[0])
  which[rows] = rows
  tokens = np.zeros((len(which), engine.shape.prompt_tokens), np.int32)
  length, ids = np.zeros((2, len(which)), np.int32)
  for place, row in enumerate(which.tolist()):
    own = log.current(row)
    tokens[place, : len(own)], length[place] = own, len(own)
    opened = int(np.flatnonzero(log.breaks[row] >= 0)[-1])
    about = (int(log.prompt[row]), int(log.sample[row]), opened, "segment")
    ids[place] = record.key(about)
  decoded, _ = engine.first(
    *(params, key), *map(engine.place, (ids, tokens, length))
  )
  return decoded
