"""Many episodes at once: who is ready takes a turn, while others are answered.

A turn is one program for all rows. It is run for those whose environment has
answered, see `pace`; environments of the others are called meanwhile. What is
drawn depends on the row and the position alone, so that an episode is the same
whoever was slow.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rlx import tokenizer as tokenizers
from rlx.envs import protocol
from rlx.rollout import engine as engines
from rlx.rollout import game as games
from rlx.rollout import pace, played, pool, record, rewritten
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
  calls: pool.Open = pool.Inline,
  segments: engines.Engine | None = None,
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
    calls: what environments are called through.
    segments: for a template that rewrites history, what its segments are played
      by, see `rewritten.shape`.

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
    segmented=segments is not None,
  )
  last = np.full(shape.rows, shape.turns)
  with contextlib.closing(calls()) as opened:
    game = games.Game(shape, tokenizer, log, opened, last_turn=last, keep=keep)
    game.reset(make, prompt_ids, indices)
    ids = np.asarray(prompt_ids, np.int32)
    return _run(engine, params, key, game, ids, segments, begun=True)


def start(
  shape: engines.Shape,
  tokenizer: tokenizers.Tokenizer,
  make: Make,
  *,
  prompt_ids: Sequence[int],
  indices: Sequence[int],
  version: int,
  calls: pool.Open = pool.Inline,
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
  last = np.ones(shape.rows, np.int32)
  with contextlib.closing(calls()) as opened:
    game = games.Game(shape, tokenizer, log, opened, last_turn=last, keep=True)
    game.reset(make, prompt_ids, indices)
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
  keep: bool = True,
  calls: pool.Open = pool.Inline,
) -> Played:
  """Continues episodes from where turns of theirs began.

  Args:
    engine: for prompts as long as a whole sequence, which no row outgrows,
      `len(cuts)` or more: what there is more is played by nobody, and not
      returned. Its `turns` is the most that are played.
    cuts: `(row, length)` in `before`, see `verbs.Cut`.
    turns_left: how many turns an episode may still take from a place.
    seed: tells draws from one place apart.
    keep: whether what is played can be continued itself.

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
  with contextlib.closing(calls()) as opened:
    game = games.Game(
      *(shape, tokenizer, log, opened),
      last_turn=left,
      keep=keep,
      longest=shape.prompt_tokens,
    )
    for each, place in enumerate(places):
      kept = before.record.tokens[cuts[each][0], : place.length].tolist()
      for here in range(each * group, (each + 1) * group):
        if here < asked:
          game.restore(here, place, kept, int(log.sample[here]))
        else:
          game.fill(here, kept)
    game.restored()
    engine = engine if keep else engine._replace(keep=None)
    found = _run(engine, params, key, game, log.sample[::group].copy())
  return played.select(found, np.arange(asked))


def check(
  task: protocol.Task,
  tokenizer: tokenizers.Tokenizer,
  max_prompt_length: int,
  segmented: bool = False,
) -> None:
  """Refuses, before anything compiles, a task that cannot begin.

  Raises:
    ValueError: the first episode of a split begins with more tokens than a
      prompt may have, or with words that the tokenizer does not know; or the
      chat template rewrites history, and that is not to be `segmented`.
  """
  for split in ("train", "test"):
    text, _ = task.episode(0, split).reset(seed=0)
    games.prompt(tokenizer, text, max_prompt_length, 0)
    if task.max_turns > 1 and not segmented:
      tokenizer.turn(text)


def _run(engine, params, key, game, ids, segments=None, begun=False) -> Played:
  """Plays a game to its end, or until the engine's turns are over.

  With `begun` these are whole episodes, of which all that was read is kept.
  """
  log, group = game.record, engine.shape.num_samples
  spent = {"sample": 0.0, "environment": 0.0}
  clock = time.perf_counter()
  decoded, kept = engine.first(
    params,
    key,
    engine.place(ids),
    engine.place(log.tokens[::group, : engine.shape.prompt_tokens].copy()),
    engine.place(log.length[::group].copy()),
  )
  turn = functools.partial(_turn, engine, params, key, ids)
  go_on = lambda *which: rewritten.write(segments, params, key, *which)
  ready, quickest = game.live.copy(), float("inf")
  written = jax.device_get(decoded)
  while True:
    now = time.perf_counter()
    spent["sample"] += now - clock
    quickest = min(quickest, now - clock)
    game.act(ready, written)
    ready = _wait(game, quickest)
    clock = time.perf_counter()
    spent["environment"] += clock - now
    if not ready.any():
      break
    written, kept = _write(turn, go_on, game, kept, ready)
  if engine.keep is not None and log.breaks is None:
    # Continuations that are over will hardly be continued.
    rows = np.flatnonzero(log.turns > 0 if begun else game.live)
    engine.keep(params, kept, log.tokens, log.length, rows)
  del decoded, kept
  game.cut()
  return _finished(game, spent)


def _wait(game: games.Game, turn_seconds: float) -> np.ndarray:
  """Returns the rows that take the next turn; none when all is over."""
  began = time.perf_counter()
  poll = float(np.clip(pace.PATIENCE * turn_seconds, 1e-3, 0.05))
  while True:
    game.hear(poll)
    ready, pending = game.ready(), int(game.environments.asked.sum())
    waited = time.perf_counter() - began
    if not pending or pace.due(int(ready.sum()), pending, waited, turn_seconds):
      return ready


def _write(turn, go_on, game, kept, ready):
  """Lets the ready rows write; returns what they wrote, and what is kept."""
  moved = ready & game.telling.moved()
  stayed, found, other = ready & ~moved, None, None
  if stayed.any():
    found, kept = turn(game, kept, stayed)
  if moved.any():
    game.listen(moved)
    other = go_on(game.record, np.flatnonzero(moved))
  found, other = jax.device_get((found, other))
  if found is None or other is None:
    return found or other, kept
  choose = lambda x, y: np.where(moved.reshape(-1, *[1] * (x.ndim - 1)), y, x)
  return jax.tree.map(choose, found, other), kept


def _turn(engine, params, key, ids, game, kept, ready):
  """Has the rows that are ready write what follows in the cache."""
  shape, group = engine.shape, engine.shape.num_samples
  # What tells the draws of rows apart.
  prompt, sample = np.repeat(ids, group), np.tile(np.arange(group), len(ids))
  rows = (prompt.astype(np.int32), sample.astype(np.int32))
  tokens, start, length = game.chunk(ready)
  live = ready & game.live
  played_ = int(game.record.turns[ready].max())
  return engine.turn(
    params,
    key,
    kept,
    *map(engine.place, (*rows, tokens, start, length, live)),
    window=shape.window(max(played_, 1)),
  )


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
