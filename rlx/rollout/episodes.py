"""Many episodes at once: all that are alive advance together, turn by turn."""

import logging
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.rollout import engine as engines
from rlx.rollout import record

_LOG = logging.getLogger(__name__)


class Played(NamedTuple):
  """A batch of finished episodes.

  Attributes:
    record: tokens and steps.
    success: bool [B].
    stop: why each episode ended, one of "completed", "truncated", "max_turns",
      "context_overflow", "environment_error".
    parse_errors: int [B], actions that could not be read.
    seconds: time in "sample" (device) and "environment" (host).
    rewards: metrics of single reward functions, `rewards/NAME/mean` and so on.
  """

  record: record.Record
  success: np.ndarray
  stop: list[str]
  parse_errors: np.ndarray
  seconds: dict[str, float]
  rewards: Mapping[str, float] = types.MappingProxyType({})


def play(
  engine: engines.Engine,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  make: Callable[[int], protocol.Episode],
  *,
  prompt_ids: Sequence[int],
  indices: Sequence[int],
  version: int,
) -> Played:
  """Plays `G` episodes from each of `P` starts and returns them all.

  Args:
    engine: the compiled programs.
    key: of the run; a draw depends on it, the prompt id, the sample's number
      and the position alone.
    make: `(index) -> Episode`, called once a member of a group.
    prompt_ids: of the groups, unique in the run.
    indices: which episode of the task each group plays.
    version: update count of `params`.

  The cache stays between turns: each turn appends what the environment said.
  An episode whose environment raises, or pays what is no finite number, leaves
  the loss and every statistic, and is counted; its group goes on.

  Raises:
    ValueError: a first observation has more tokens than the engine was made
      for, or members of a group begin with different ones.
    RuntimeError: the environments of all episodes failed.
  """
  shape = engine.shape
  game = _Game.start(engine, tokenizer, make, prompt_ids, indices, version)
  spent = {"sample": 0.0, "environment": 0.0}
  clock = time.perf_counter()

  prompts = game.prompt_tokens()
  decoded, cache = engine.first(
    params,
    key,
    engine.place(np.asarray(prompt_ids, np.int32)),
    engine.place(prompts),
    engine.place(game.record.length[:: shape.num_samples].copy()),
  )
  for turn in range(shape.turns):
    if turn:
      tokens, start, length = game.chunk()
      decoded, cache = engine.turn(
        params,
        key,
        cache,
        engine.place(game.record.prompt),
        engine.place(game.record.sample),
        engine.place(tokens),
        engine.place(start),
        engine.place(length),
        engine.place(game.live),
        window=shape.window(turn),
      )
    written = jax.device_get(decoded)
    now = time.perf_counter()
    spent["sample"] += now - clock
    game.advance(written)
    clock = time.perf_counter()
    spent["environment"] += clock - now
    if not game.live.any():
      break
  return Played(game.record, game.success, game.stop, game.parse_errors, spent)


def check(
  task: protocol.Task, tokenizer: tokenizers.Tokenizer, max_prompt_length: int
) -> None:
  """Refuses, before anything compiles, a task that cannot begin.

  Raises:
    ValueError: the first episode of a split begins with more tokens than a
      prompt may have, or with words that the tokenizer does not know.
  """
  for split in ("train", "test"):
    text, _ = task.episode(0, split).reset(seed=0)
    _prompt(tokenizer, text, max_prompt_length, 0)


class _Game:
  """The host's side of `play`: environments, texts, and who is alive."""

  def __init__(self, shape, tokenizer, episodes, log):
    self.shape = shape
    self.tokenizer = tokenizer
    self.episodes = episodes
    self.record = log
    rows = shape.rows
    self.live = np.ones(rows, bool)
    self.success = np.zeros(rows, bool)
    self.stop = ["max_turns"] * rows
    self.parse_errors = np.zeros(rows, np.int32)
    self.state: list[Any] = [None] * rows
    self.said: list[list[int]] = [[] for _ in range(rows)]

  @classmethod
  def start(cls, engine, tokenizer, make, prompt_ids, indices, version):
    shape = engine.shape
    group = shape.num_samples
    log = record.Record.empty(
      np.repeat(np.asarray(prompt_ids), group),
      np.tile(np.arange(group), shape.num_prompts),
      length=shape.length,
      turns=shape.turns,
      version=version,
    )
    game = cls(shape, tokenizer, [None] * shape.rows, log)
    for place, (prompt, index) in enumerate(
      zip(prompt_ids, indices, strict=True)
    ):
      rows = range(place * group, (place + 1) * group)
      game._start_group(
        rows, lambda index=index: make(index), int(prompt), index
      )
    return game

  def _start_group(self, rows, make, seed: int, index: int) -> None:
    """Starts the members of a group: what they are shown first is one prompt."""
    texts: list[str] = []
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
    # Something is computed even for a group that has nobody to play it.
    ids = [self.tokenizer.pad_id]
    if texts:
      _check_same(texts, index)
      ids = _prompt(self.tokenizer, texts[0], self.shape.prompt_tokens, index)
    self.record.observe(np.array(rows), [ids] * len(rows))

  def prompt_tokens(self) -> np.ndarray:
    group = self.shape.num_samples
    return self.record.tokens[::group, : self.shape.prompt_tokens].copy()

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
    return tokens, start, length

  def advance(self, written) -> None:
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
      reward = _finite(reward)
    except Exception:  # Whatever an environment raises costs only its episode.
      self._fail(row)
      return
    log = self.record
    next_state = info.get("state_key", shown)
    log.pay(row, reward, self.state[row], text, next_state)
    self.state[row] = next_state
    self.parse_errors[row] += bool(info.get("parse_error", False))
    self.success[row] = bool(info.get("success", log.reward[row].sum() > 0))
    if terminated or truncated:
      self._end(row, "completed" if terminated else "truncated")
    elif log.turns[row] == self.shape.turns:
      self._end(row, "max_turns")
    else:
      self._say(row, shown, stopped)

  def _say(self, row: int, shown: str, stopped: bool) -> None:
    # Where the policy did not close its turn itself, it is closed for it.
    closing = [] if stopped else [self.tokenizer.stop_ids[0]]
    self.said[row] = closing + self.tokenizer.turn(shown)
    if len(self.said[row]) > self.shape.turn_tokens:
      self._end(row, "context_overflow")

  def _fail(self, row: int) -> None:
    """Takes an episode out while its environment's exception is handled."""
    _LOG.warning("episode %d: the environment raised", row, exc_info=True)
    self._end(row, "environment_error")
    self.success[row] = False
    self.record.drop(row)
    if all(stop == "environment_error" for stop in self.stop):
      raise RuntimeError(
        f"the environments of all {len(self.stop)} episodes of a batch failed; "
        "the last one's error is above"
      )

  def _end(self, row: int, reason: str) -> None:
    self.live[row] = False
    self.stop[row] = reason


def _finite(reward: Any) -> float:
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


def _prompt(
  tokenizer: tokenizers.Tokenizer, text: str, limit: int, index: int
) -> list[int]:
  ids = tokenizer.chat([{"role": "user", "content": text}])
  if len(ids) > limit:
    raise ValueError(
      f"the first observation of episode {index} has {len(ids)} tokens, more "
      f"than max_prompt_length={limit}"
    )
  return ids
