"""The host's side of many episodes: environments, texts, and who is alive."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.rollout import engine as engines
from rlx.rollout import played, record

_LOG = logging.getLogger(__name__)


class Game:
  """Episodes that advance together, and the record of them.

  An episode whose environment raises, or pays what is no finite number, leaves
  the loss and every statistic, and is counted; its group goes on.
  """

  def __init__(
    self,
    shape: engines.Shape,
    tokenizer: tokenizers.Tokenizer,
    log: record.Record,
    *,
    last_turn: np.ndarray,
    keep: bool,
    longest: int | None = None,
  ):
    """Describes rows that nobody plays yet; `reset` or `restore` come next.

    Args:
      log: their record, with what it takes for the draws of each to differ in
        `prompt` and `sample`.
      last_turn: how many turns each may take from here.
      keep: whether the places where turns begin are kept, to go on from.
      longest: tokens that a row may have; None for as many as fit its turns.
    """
    rows = shape.rows
    self.shape = shape
    self.tokenizer = tokenizer
    self.record = log
    self.episodes: list[Any] = [None] * rows
    self.live = np.ones(rows, bool)
    self.success = np.zeros(rows, bool)
    self.stop = ["max_turns"] * rows
    self.parse_errors = np.zeros(rows, np.int32)
    self.state: list[Any] = [None] * rows
    self.said: list[list[int]] = [[] for _ in range(rows)]
    self.places: list[list[played.Place]] = [[] for _ in range(rows)]
    self._makers: list[Any] = [None] * rows
    self._before = np.zeros(rows, np.int32)  # Turns played before this game.
    self._last_turn = last_turn
    self._keep = keep
    self._longest = longest
    self._first = False  # Whether these are beginnings, and not continued.

  # Beginning.

  def reset(
    self, rows: range, make: Callable[[], Any], seed: int, index: int
  ) -> None:
    """Starts the members of a group: what they are shown first is one prompt."""
    texts: list[str] = []
    self._first = True
    for row in rows:
      try:
        self.episodes[row] = make()
        text, info = self.episodes[row].reset(seed=seed)
        self.state[row] = info.get("state_key", text)
        texts.append(text)
      except (
        Exception
      ):  # Whatever an environment raises costs only its episode.
        self._fail(row)
      self._makers[row] = make
    # Something is computed even for a group that has nobody to play it.
    ids = [self.tokenizer.pad_id]
    if texts:
      _check_same(texts, index)
      ids = prompt(self.tokenizer, texts[0], self.shape.prompt_tokens, index)
    self.record.observe(np.array(rows), [ids] * len(rows))
    for row in rows:
      self._keep_place(row)

  def restore(
    self, row: int, place: played.Place, kept: Sequence[int], seed: int
  ) -> None:
    """Puts a row where an episode stood; `kept` are its tokens until then."""
    self._makers[row] = place.make
    self._before[row] = place.turn
    self.state[row] = place.state
    self.record.observe(np.array([row]), [kept])
    try:
      self.episodes[row] = place.make()
      self.episodes[row].restore(place.snapshot, seed)
    except Exception:  # Whatever an environment raises costs only its episode.
      self._fail(row)

  def fill(self, row: int, kept: Sequence[int]) -> None:
    """Gives a row that nobody is to play something to be computed from."""
    self.record.observe(np.array([row]), [kept])
    self._end(row, "cut")

  # Each turn.

  def chunk(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what is appended in this turn: the last token, and what was said.

    The last token a row wrote may not be in the cache yet, so it is written
    there again, which changes nothing where it is.
    """
    log, rows = self.record, np.flatnonzero(self.live)
    # A row that has ended writes at position 0, which nobody reads any more.
    start = np.where(self.live, log.length - 1, 0).astype(np.int32)
    length = np.ones(len(self.live), np.int32)
    tokens = np.zeros((len(self.live), self.shape.turn_tokens + 1), np.int32)
    tokens[rows, 0] = log.tokens[rows, start[rows]]
    for row in rows:
      said = self.said[row]
      tokens[row, 1 : 1 + len(said)] = said
      length[row] += len(said)
    log.observe(rows, [self.said[row] for row in rows])
    for row in rows.tolist():
      self._keep_place(row)
    return tokens, start, length

  def advance(self, written: Any) -> None:
    """Takes what the live rows wrote to their environments."""
    rows = np.flatnonzero(self.live)
    self.record.act(
      rows,
      written.tokens[rows],
      written.log_probs[rows],
      written.raw_log_probs[rows],
      written.length[rows],
    )
    for row in rows:
      ids = written.tokens[row, : written.length[row]].tolist()
      self._step(int(row), ids, bool(written.stopped[row]))

  def _step(self, row: int, ids: list[int], stopped: bool) -> None:
    text = self.tokenizer.decode(ids[:-1] if stopped else ids)
    try:
      shown, reward, terminated, truncated, info = self.episodes[row].step(text)
      next_state = info.get("state_key", shown)
      self.record.pay(
        row,
        finite(reward),
        self.state[row],
        text,
        next_state,
        info.get("evidence"),
      )
    except Exception:  # Whatever an environment raises costs only its episode.
      self._fail(row)
      return
    log = self.record
    self.state[row] = next_state
    self.parse_errors[row] += bool(info.get("parse_error", False))
    self.success[row] = bool(info.get("success", log.reward[row].sum() > 0))
    if terminated or truncated:
      self._end(row, "completed" if terminated else "truncated")
    elif log.turns[row] == self._last_turn[row]:
      self._end(row, "max_turns")
    else:
      self._say(row, shown, stopped)

  def _say(self, row: int, shown: str, stopped: bool) -> None:
    # Where the policy did not close its turn itself, it is closed for it.
    closing = [] if stopped else [self.tokenizer.stop_ids[0]]
    self.said[row] = closing + self.tokenizer.turn(shown)
    after = self.record.length[row] + len(self.said[row])
    longest = self._longest or self.shape.length
    if (
      len(self.said[row]) > self.shape.turn_tokens
      or after + self.shape.action_tokens > longest
    ):
      self._end(row, "context_overflow")

  def _keep_place(self, row: int) -> None:
    if not (self._keep and self.live[row]):
      return
    episode = self.episodes[row]
    if not isinstance(episode, protocol.Restorable):
      raise ValueError(
        f"episodes of {type(episode).__name__} cannot be continued from the "
        "middle, which this recipe asks for: they need snapshot() and restore()"
      )
    try:
      snapshot = episode.snapshot()
    except Exception:  # Whatever an environment raises costs only its episode.
      self._fail(row)
      return
    place = played.Place(
      length=int(self.record.length[row]),
      turn=int(self._before[row] + self.record.turns[row]),
      state=self.state[row],
      snapshot=snapshot,
      make=self._makers[row],
    )
    self.places[row].append(place)

  # The end.

  def cut(self) -> None:
    """Leaves the live rows where they are, to be continued."""
    rows = np.flatnonzero(self.live)
    self.record.observe(rows, [self.said[row] for row in rows])
    for row in rows.tolist():
      self._keep_place(row)
      if self.live[row]:
        self._end(row, "cut")

  def _fail(self, row: int) -> None:
    """Takes an episode out while its environment's exception is handled."""
    _LOG.warning("episode %d: the environment raised", row, exc_info=True)
    self._end(row, "environment_error")
    self.success[row] = False
    self.record.drop(row)
    # What is only continued may fail whole: what it continues remains.
    if self._first and all(stop == "environment_error" for stop in self.stop):
      raise RuntimeError(
        f"the environments of all {len(self.stop)} episodes of a batch failed; "
        "the last one's error is above"
      )

  def _end(self, row: int, reason: str) -> None:
    self.live[row] = False
    self.stop[row] = reason


def prompt(
  tokenizer: tokenizers.Tokenizer, text: str, limit: int, index: int
) -> list[int]:
  """Returns the tokens of a first observation.

  Raises:
    ValueError: there are more than `limit`.
  """
  ids = tokenizer.chat([{"role": "user", "content": text}])
  if len(ids) > limit:
    raise ValueError(
      f"the first observation of episode {index} has {len(ids)} tokens, more "
      f"than max_prompt_length={limit}"
    )
  return ids


def finite(reward: Any) -> float:
  """Returns a reward as a number.

  Raises:
    ValueError: it is not finite.
  """
  number = float(reward)
  if not abs(number) <= np.finfo(np.float32).max:
    raise ValueError(f"reward={reward}: must be a finite float32")
  return number


def _check_same(texts: list[str], index: int) -> None:
  """Refuses a group whose members would not share a prompt."""
  other = next((text for text in texts if text != texts[0]), None)
  if other is not None:
    raise ValueError(
      f"episode {index}: members of its group start apart, with {texts[0]!r} "
      f"and {other!r}; one index and seed must give one first observation"
    )
