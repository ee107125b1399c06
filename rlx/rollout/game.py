"""The host's side of many episodes: environments, texts, and who is alive."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlx import tokenizer as tokenizers
from rlx.rollout import asking, lost, played, pool, record, seats, telling
from rlx.rollout import engine as engines


class Game:
  """Episodes that advance side by side, and the record of them.

  While an environment has not answered, the others go on. An episode whose
  environment raises, pays what is no finite number or does not answer in time
  leaves the loss and every statistic, and is counted; its group goes on.
  """

  def __init__(
    self,
    shape: engines.Shape,
    tokenizer: tokenizers.Tokenizer,
    log: record.Record,
    calls: pool.Calls,
    *,
    last_turn: np.ndarray,
    keep: bool,
    longest: int | None = None,
  ):
    """Describes rows that nobody plays yet; `reset` or `restore` come next.

    Args:
      log: their record, with what it takes for the draws of each to differ in
        `prompt` and `sample`.
      calls: of their environments.
      last_turn: how many turns each may take from here.
      keep: whether the places where turns begin are kept, to go on from.
      longest: tokens that a row may have; None for as many as fit its turns.
    """
    rows = shape.rows
    self.shape = shape
    self.tokenizer = tokenizer
    self.record = log
    self.environments = asking.Asking(calls, rows)
    self.telling = telling.Telling(shape, tokenizer, log, longest)
    self.live = np.ones(rows, bool)
    self.success = np.zeros(rows, bool)
    self.stop = ["max_turns"] * rows
    self.parse_errors = np.zeros(rows, np.int32)
    self.state: list[Any] = [None] * rows
    self.places: list[list[played.Place]] = [[] for _ in range(rows)]
    self._makers: list[Any] = [None] * rows
    self._shown: list[Any] = [None] * rows  # The latest answer.
    # What the policy said last, and whether it closed its turn.
    self._spoke: list[tuple[str, bool]] = [("", False)] * rows
    self._before = np.zeros(rows, np.int32)  # Turns played before this game.
    self._last_turn = last_turn
    self._keep = keep
    self._lost = lost.Lost()
    self._first = False  # Whether these are beginnings, and not continued.

  # Beginning.

  def reset(
    self,
    make: Callable[[int], Any],
    prompt_ids: Sequence[int],
    indices: Sequence[int],
  ) -> None:
    """Starts the groups: what the members of one are shown first is one prompt."""
    self._first, group = True, self.shape.num_samples
    for row in range(self.shape.rows):
      seed, index = int(prompt_ids[row // group]), indices[row // group]
      self._makers[row] = functools.partial(make, index)
      self.environments.ask(row, "begin", self._makers[row], seed, self._keep)
    self.restored()
    for place, index in enumerate(indices):
      self._begin(np.arange(place * group, (place + 1) * group), index)

  def _begin(self, rows: np.ndarray, index: int) -> None:
    texts = [self._shown[row].text for row in rows if self.live[row]]
    # Something is computed even for a group that has nobody to play it.
    ids = [self.tokenizer.pad_id]
    if texts:
      _check_same(texts, index)
      ids = prompt(self.tokenizer, texts[0], self.shape.prompt_tokens, index)
    self.record.observe(rows, [ids] * len(rows))
    for row in rows.tolist():
      if texts:
        self.telling.begin(row, texts[0])
      self._keep_place(row)

  def restore(
    self, row: int, place: played.Place, kept: Sequence[int], seed: int
  ) -> None:
    """Puts a row where an episode stood; `kept` are its tokens until then.

    What its environment raises is known after `restored`.
    """
    self._makers[row] = place.make
    self._before[row] = place.turn
    self.state[row] = place.state
    self.record.observe(np.array([row]), [kept])
    self.environments.ask(row, "resume", place.make, place.snapshot, seed)

  def restored(self) -> None:
    """Waits for all that was asked."""
    for answer in self.environments.settle():
      self._hear(answer)

  def fill(self, row: int, kept: Sequence[int]) -> None:
    """Gives a row that nobody is to play something to be computed from."""
    self.record.observe(np.array([row]), [kept])
    self._end(row, "cut")

  # Each turn.

  def ready(self) -> np.ndarray:
    """Returns bool [N]: rows whose turn it is."""
    left = self.record.turns < self.record.reward.shape[1]
    return self.live & ~self.environments.asked & left

  def chunk(self, ready: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns what is appended for those: the last token, and what was said.

    That is: tokens, where they go, and how many they are. The last token a row
    wrote may not be in the cache yet, so it is written there again, which
    changes nothing where it is. What the other rows write is never read.
    """
    log, rows = self.record, np.flatnonzero(ready)
    start = np.where(self.live & ~self.telling.moved(), log.length - 1, 0)
    start = start.astype(np.int32)
    length = np.ones(len(ready), np.int32)
    tokens = np.zeros((len(ready), self.shape.turn_tokens + 1), np.int32)
    tokens[:, 0] = log.tokens[np.arange(len(ready)), start]
    for row in rows:
      said = self.telling.said[row]
      tokens[row, 1 : 1 + len(said)] = said
      length[row] += len(said)
    self.listen(ready)
    return tokens, start, length

  def listen(self, ready: np.ndarray) -> None:
    """Writes down what was said to these rows; their turns begin."""
    rows = np.flatnonzero(ready)
    self.telling.tell(rows)
    for row in rows.tolist():
      self._keep_place(row)

  def act(self, ready: np.ndarray, written: Any) -> None:
    """Takes what these rows wrote to their environments."""
    rows = np.flatnonzero(ready & self.live)
    self.record.act(
      rows,
      written.tokens[rows],
      written.log_probs[rows],
      written.raw_log_probs[rows],
      written.length[rows],
    )
    for row in rows.tolist():
      ids = written.tokens[row, : written.length[row]].tolist()
      stopped = bool(written.stopped[row])
      text = self.tokenizer.decode(ids[:-1] if stopped else ids)
      self._spoke[row] = text, stopped
      last = self.record.turns[row] == self._last_turn[row]
      self.environments.ask(row, "step", text, self._keep and not last)

  def hear(self, seconds: float) -> None:
    """Takes what environments answer until all have, or the time is over."""
    for answer in self.environments.answers(seconds):
      self._hear(answer)

  def _hear(self, answer: pool.Answer) -> None:
    row, shown, error = answer
    if error is None and shown is not None:
      try:
        self._take(row, shown)
      except Exception as raised:  # Of what the environment answered.
        error = raised
    if error is not None:
      self._fail(row, error)
    elif self.record.turns[row] and shown is not None:
      self._next(row, shown)

  def _take(self, row: int, shown: seats.Shown) -> None:
    """Writes an answer down; raises where it is none."""
    self._shown[row] = shown
    state = shown.info.get("state_key", shown.text)
    if self.record.turns[row]:
      self.record.pay(
        *(row, finite(shown.reward), self.state[row], self._spoke[row][0]),
        *(state, shown.info.get("evidence")),
      )
      paid = self.record.reward[row].sum() > 0
      self.success[row] = bool(shown.info.get("success", paid))
      self.parse_errors[row] += bool(shown.info.get("parse_error", False))
      played.check_told(shown.info)
    self.state[row] = state

  def _next(self, row: int, shown: seats.Shown) -> None:
    """Goes on with an episode that has taken a step, or ends it."""
    if shown.terminated or shown.truncated:
      plain = "completed" if shown.terminated else "truncated"
      self._end(row, shown.info.get("stop", plain))
    elif self.record.turns[row] == self._last_turn[row]:
      self._end(row, "max_turns")
    elif not self.telling.prepare(row, *self._spoke[row], shown.text):
      self._end(row, "context_overflow")

  def _keep_place(self, row: int) -> None:
    if not (self._keep and self.live[row]):
      return
    shown = self._shown[row]
    if shown is None:  # It was restored here, and has not moved.
      return
    if shown.failed is not None:
      self._fail(row, shown.failed)
      return
    place = played.Place(
      length=int(self.record.length[row]),
      turn=int(self._before[row] + self.record.turns[row]),
      state=self.state[row],
      snapshot=shown.snapshot,
      make=self._makers[row],
    )
    self.places[row].append(place)

  # The end.

  def cut(self) -> None:
    """Leaves the live rows where they are, to be continued."""
    self._lost.tell(self.shape.rows)
    self.listen(self.live)
    for row in np.flatnonzero(self.live).tolist():
      self._end(row, "cut")

  def _fail(self, row: int, error: BaseException) -> None:
    """Takes an episode out whose environment raised, or did not answer."""
    if isinstance(error, seats.Unsuitable):
      raise error
    late = isinstance(error, pool.Late)
    self._lost.add(error, late)
    self._end(row, "rollout_timeout" if late else "environment_error")
    self.success[row] = False
    self.record.drop(row)
    # What is only continued may fail whole: what it continues remains.
    if self._first and all(stop in played.FAILED for stop in self.stop):
      raise lost.AllLost(
        f"all {len(self.stop)} episodes of a batch failed: {self._lost.text()}"
      ) from error

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
      f"than max_prompt_length={limit}; set --rollout.max-prompt-length "
      f"{len(ids)} or more"
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
