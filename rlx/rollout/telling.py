"""What the policy is told between its turns, as tokens."""

import numpy as np

from rlx import tokenizer as tokenizers
from rlx.rollout import engine as engines
from rlx.rollout import record, rewritten


class Telling:
  """What each row is told next, and whether there is room for it."""

  def __init__(
    self,
    shape: engines.Shape,
    tokenizer: tokenizers.Tokenizer,
    log: record.Record,
    longest: int | None,
  ):
    """Tells nobody anything yet.

    Args:
      log: of the rows; with breaks where their template may rewrite them.
      longest: tokens that a row may have; None for as many as fit its turns.
    """
    self.said: list[list[int]] = [[] for _ in range(shape.rows)]
    self._shape, self._tokenizer, self._log = shape, tokenizer, log
    self._longest = longest or shape.length
    self._talks: list[rewritten.Talk] = []
    if log.breaks is not None:
      self._talks = [rewritten.Talk(tokenizer) for _ in range(shape.rows)]

  def begin(self, row: int, text: str) -> None:
    """Takes note of what a row was shown first."""
    if self._talks:
      self._talks[row].hear(text)

  def prepare(self, row: int, spoke: str, stopped: bool, text: str) -> bool:
    """Prepares what a row is told; False if there is no room for it.

    Args:
      spoke: what the policy said, and
      stopped: whether it closed its turn.
      text: what it is told.
    """
    # Where the policy did not close its turn itself, it is closed for it.
    closing = [] if stopped else [self._tokenizer.stop_ids[0]]
    here, most = int(self._log.length[row]), self._shape.turn_tokens
    if not self._talks:
      said = closing + self._tokenizer.turn(text)
    else:
      talk, own = self._talks[row], self._log.current(row)
      said, here = talk.follow(own, closing, spoke, text), len(own)
      if talk.afresh:
        here, most = 0, self._longest
    self.said[row] = said
    after = here + len(said) + self._shape.action_tokens
    return len(said) <= most and after <= self._longest

  def tell(self, rows: np.ndarray) -> None:
    """Writes down what these rows are told."""
    for row in rows.tolist():
      if self._talks and self._talks[row].afresh:
        self._talks[row].afresh = False
        self._log.begin_segment(row)
    self._log.observe(rows, [self.said[row] for row in rows])
    for row in rows.tolist():
      self.said[row] = []

  def moved(self) -> np.ndarray:
    """Returns bool [N]: rows that have left the cache for another segment."""
    if not self._talks:
      return np.zeros(len(self.said), bool)
    afresh = np.array([talk.afresh for talk in self._talks])
    return afresh | rewritten.moved(self._log)
