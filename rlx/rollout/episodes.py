"""Many episodes at once: all that are alive advance together, turn by turn."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.rollout import engine as engines
from rlx.rollout import game as games
from rlx.rollout import played, record
from rlx.rollout.played import Place, Played

Make = Callable[[int], protocol.Episode]


def play(
  engine: engines.Engine,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  make: Make,
  *,
  prompt_ids: Sequence[int],
  indices: Sequence[int],
  version: int,
  evidence: Sequence[str] = (),
  keep: bool = False,
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
    evidence: columns that the environment fills, in `info["evidence"]`.
    keep: whether the episodes can be continued from where their turns began.

  The cache stays between turns: each turn appends what the environment said.

  Raises:
    ValueError: a first observation has more tokens than the engine was made
      for, or members of a group begin with different ones.
    RuntimeError: the environments of all episodes failed.
  """
  shape = engine.shape
  log = record.Record.empty(
    np.repeat(np.asarray(prompt_ids), shape.num_samples),
    np.tile(np.arange(shape.num_samples), shape.num_prompts),
    length=shape.length,
    turns=shape.turns,
    version=version,
    evidence=evidence,
  )
  game = _reset(shape, tokenizer, make, log, prompt_ids, indices, keep)
  ids = np.asarray(prompt_ids, np.int32)
  return _run(engine, params, key, game, ids, shape.turns)


def start(
  shape: engines.Shape,
  tokenizer: tokenizers.Tokenizer,
  make: Make,
  *,
  prompt_ids: Sequence[int],
  indices: Sequence[int],
  version: int,
) -> Played:
  """Returns an episode of each start in which nobody has acted yet."""
  shape = shape._replace(num_samples=1, num_prompts=len(prompt_ids))
  log = record.Record.empty(
    np.asarray(prompt_ids),
    np.zeros(len(prompt_ids), np.int32),
    length=shape.length,
    turns=1,
    version=version,
  )
  game = _reset(shape, tokenizer, make, log, prompt_ids, indices, True)
  for row in np.flatnonzero(game.live):
    game.live[row], game.stop[row] = False, "cut"
  return _finished(game, {})


def go_on(
  engine: engines.Engine,
  params: Any,
  key: jax.Array,
  tokenizer: tokenizers.Tokenizer,
  before: Played,
  cuts: Sequence[tuple[int, int]],
  *,
  turns_left: Callable[[Place], int],
  seed: int,
  version: int,
  evidence: Sequence[str] = (),
) -> Played:
  """Continues episodes from where turns of theirs began.

  Args:
    engine: for prompts as long as a whole sequence, which no row outgrows,
      `len(cuts)` or more: what there is more is played by nobody, and not
      returned. Its `turns` is the most that are played.
    cuts: `(row, length)` in `before`, see `verbs.Cut`.
    turns_left: how many turns an episode may still take from a place.
    seed: tells draws from one place apart.

  Raises:
    ValueError: no turn of the row began there.
  """
  shape, group = engine.shape, engine.shape.num_samples
  asked = len(cuts) * group
  cuts = [*cuts, *[cuts[0]] * (shape.num_prompts - len(cuts))]
  places = [_place(before, *cut) for cut in cuts]
  row = np.repeat([row for row, _ in cuts], group)
  log = record.Record.empty(
    before.record.prompt[row],
    record.branch(before.record, cuts, group, seed),
    length=shape.length,
    turns=shape.turns,
    version=version,
    evidence=evidence,
  )
  left = np.repeat([turns_left(place) for place in places], group)
  game = games.Game(
    shape,
    tokenizer,
    log,
    last_turn=left,
    keep=True,
    longest=shape.prompt_tokens,
  )
  for each, place in enumerate(places):
    kept = before.record.tokens[cuts[each][0], : place.length].tolist()
    for here in range(each * group, (each + 1) * group):
      if here < asked:
        game.restore(here, place, kept, int(log.sample[here]))
      else:
        game.fill(here, kept)
  ids = log.sample[::group].copy()
  found = _run(engine, params, key, game, ids, shape.turns)
  return played.select(found, np.arange(asked))


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
    games.prompt(tokenizer, text, max_prompt_length, 0)


def _reset(shape, tokenizer, make, log, prompt_ids, indices, keep):
  last = np.full(shape.rows, shape.turns)
  game = games.Game(shape, tokenizer, log, last_turn=last, keep=keep)
  group = shape.num_samples
  for place, (ids, index) in enumerate(zip(prompt_ids, indices, strict=True)):
    rows = range(place * group, (place + 1) * group)
    game.reset(rows, lambda index=index: make(index), int(ids), index)
  return game


def _run(engine, params, key, game, ids, turns) -> Played:
  """Plays a game to its end, or until `turns` are over."""
  shape, log = engine.shape, game.record
  group = shape.num_samples
  # What tells the draws of rows apart.
  prompt, sample = np.repeat(ids, group), np.tile(np.arange(group), len(ids))
  rows = (prompt.astype(np.int32), sample.astype(np.int32))
  spent = {"sample": 0.0, "environment": 0.0}
  clock = time.perf_counter()
  decoded, cache = engine.first(
    params,
    key,
    engine.place(ids),
    engine.place(log.tokens[::group, : shape.prompt_tokens].copy()),
    engine.place(log.length[::group].copy()),
  )
  for turn in range(turns):
    if turn:
      tokens, start, length = game.chunk()
      decoded, cache = engine.turn(
        params,
        key,
        cache,
        *map(engine.place, (*rows, tokens, start, length, game.live)),
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
  game.cut()
  return _finished(game, spent)


def _finished(game: games.Game, spent: dict[str, float]) -> Played:
  return Played(
    game.record,
    game.success,
    game.stop,
    game.parse_errors,
    spent,
    origin=tuple(tuple(places) for places in game.places),
  )


def _place(before: Played, row: int, length: int) -> Place:
  found = [p for p in before.origin[row] if p.length == length]
  if not found:
    begun = [p.length for p in before.origin[row]]
    raise ValueError(
      f"cut at token {length} of row {row}: its turns begin at {begun}"
    )
  return found[0]
