"""Verbs without a model: NumPy draws words, and what they are worth is known.

A completion is `l` and `r` until END; an episode is a word and END in each
turn, after which three tokens are shown. The chance of each word may depend on
those before.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlx.rollout import engine, played, record, verbs
from tests import tiny

PROMPT = [3, 5, 4]
SHOWN = [3, 5, 4]
WORDS = {"l": tiny.LEFT, "r": tiny.RIGHT, ".": tiny.END}


class Simulator:
  """A policy, a task, and the verbs.

  Attributes:
    calls: of `continue_from`, as (cuts, n, max_tokens, max_turns).
    fails: called with the words of an episode; True where its environment is
      to raise.
  """

  def __init__(
    self,
    score: Callable[[str], float],
    *,
    chance: Callable[[str], dict[str, float]] | None = None,
    prompts: int = 2,
    samples: int = 2,
    longest: int = 6,
    turns: int = 1,
    seed: int = 0,
  ):
    self.shape = engine.Shape(prompts, samples, 3, 3, longest, turns)
    if turns > 1:
      self.shape = self.shape._replace(action_tokens=2)
    self.chance = chance or (lambda text: {"l": 0.4, "r": 0.4, ".": 0.2})
    self.score, self.rng = score, np.random.default_rng(seed)
    self.calls: list[tuple[Any, ...]] = []
    self.fails: Callable[[str], bool] = lambda text: False

  def verbs(self) -> verbs.Verbs:
    return verbs.Verbs(
      sample=self.sample,
      start=self.start,
      continue_from=self.continue_from,
      score=lambda *_: None,
      tokenizer=tiny.tokenizer(),
      shape=self.shape,
      version=3,
    )

  def start(self, prompt_ids: Sequence[int], indices) -> played.Played:
    del indices
    log = self._empty(np.asarray(prompt_ids), 1)
    log.observe(np.arange(len(prompt_ids)), [PROMPT] * len(prompt_ids))
    return self._played(log, ["cut"] * len(prompt_ids))

  def sample(self, prompt_ids: Sequence[int], indices) -> played.Played:
    one = self.start(prompt_ids, indices)
    cuts = [verbs.Cut(row, 3) for row in range(len(prompt_ids))]
    found = self._draw(one, cuts, self.shape.num_samples, None, None)
    return found

  def continue_from(
    self,
    before,
    cuts,
    n,
    *,
    max_tokens=None,
    max_turns=None,
    seed=0,
    keep=True,
  ) -> played.Played:
    del seed, keep
    self.calls.append((tuple(cuts), n, max_tokens, max_turns))
    return self._draw(before, cuts, n, max_tokens, max_turns)

  def said(self, tokens: Any) -> str:
    """The words behind the prompt, without what was shown."""
    names = {token: word for word, token in WORDS.items()}
    rest = list(tokens[len(PROMPT) :])
    if self.shape.turns == 1:
      return "".join(names.get(token, "?") for token in rest)
    width = 2 + len(SHOWN)
    return "".join(names[rest[k]] for k in range(0, len(rest), width))

  def _draw(self, before, cuts, n, max_tokens, max_turns):
    rows = np.repeat([cut.row for cut in cuts], n)
    turns = min(max_turns or self.shape.turns, self.shape.turns)
    log = self._empty(before.record.prompt[rows], turns)
    kept = [
      before.record.tokens[cut.row, : cut.length].tolist() for cut in cuts
    ]
    log.observe(np.arange(len(rows)), [kept[k // n] for k in range(len(rows))])
    play = self._complete if self.shape.turns == 1 else self._episode
    stop = [play(log, row, max_tokens, turns) for row in range(len(rows))]
    return self._played(log, stop)

  def _complete(self, log, row, max_tokens, turns) -> str:
    del turns
    room = self.shape.action_tokens - (int(log.length[row]) - len(PROMPT))
    limit = min(room, max_tokens or room)
    words = self._write(log, row, limit)
    text = self.said(log.tokens[row, : log.length[row]])
    ended = words.endswith(".")
    if not ended and limit < room:
      log.pay(row, 0.0, 0, words, 1)
      return "cut"
    log.pay(row, self.score(text), 0, words, 1)
    return "stop" if ended else "max_tokens"

  def _episode(self, log, row, max_tokens, turns) -> str:
    del max_tokens
    before = (int(log.length[row]) - len(PROMPT)) // (2 + len(SHOWN))
    for turn in range(before, min(self.shape.turns, before + turns)):
      self._write(log, row, 1, [tiny.END])
      text = self.said(log.tokens[row, : log.length[row]])
      if self.fails(text):
        log.drop(row)
        return "environment_error"
      log.pay(row, self.score(text), turn, text[-1], turn + 1)
      if text.endswith("."):
        return "completed"
      if turn + 1 == self.shape.turns:
        return "max_turns"
      log.observe(np.array([row]), [SHOWN])
    return "cut"

  def _write(self, log, row, limit, behind=()) -> str:
    words, likely = "", []
    text = self.said(log.tokens[row, : log.length[row]])
    while len(words) < limit and not words.endswith("."):
      chance = self.chance(text + words)
      word = str(self.rng.choice(list(chance), p=list(chance.values())))
      words += word
      likely.append(np.log(chance[word]))
    tokens = np.array([[*(WORDS[word] for word in words), *behind]])
    log_probs = np.array([[*likely, *[0.0] * len(behind)]])
    size = np.array([tokens.shape[1]])
    log.act(np.array([row]), tokens, log_probs, log_probs, size)
    return words

  def _empty(self, prompt, turns) -> record.Record:
    return record.Record.empty(
      prompt,
      self.rng.integers(2**31, size=len(prompt)),
      length=self.shape.length,
      turns=turns,
      version=3,
    )

  def _played(self, log, stop) -> played.Played:
    return played.Played(
      record=log,
      success=np.zeros(len(stop), bool),
      stop=stop,
      parse_errors=np.zeros(len(stop), np.int32),
      seconds={"sample": 1.0},
      origin=tuple(played.Start({}, len(PROMPT)) for _ in stop),
    )
