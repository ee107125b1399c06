"""Acting in an environment in the policy's place, where an episode stood.

An episode that can be continued has a `Place` for the beginning of each of its
turns. Here somebody else takes such a turn: an expert, or the policy's own words
again in another context.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlx import tokenizer as tokenizers
from rlx.rollout import edits, played, record
from rlx.rollout import game as games


class Acted(NamedTuple):
  """One turn.

  Attributes:
    tokens: the action, and what was shown next where the episode goes on.
    reward: paid for it.
    place: where the next turn begins; None where the episode is over.
  """

  tokens: list[int]
  reward: float
  place: played.Place | None


def opened(place: played.Place, seed: int = 0) -> Any:
  """Returns a fresh episode that stands there."""
  episode: Any = place.make()
  episode.restore(place.snapshot, seed)
  return episode


def places(found: played.Played, row: int) -> tuple[played.Place, ...]:
  """Returns where the turns of a row began.

  Raises:
    ValueError: it is a completion, which has no turns.
  """
  origin = found.origin[row]
  if isinstance(origin, played.Start):
    raise ValueError(
      "this recipe takes turns in the policy's place: it needs a task of "
      "episodes, and not one of prompts and reward functions"
    )
  return origin


def act(
  place: played.Place,
  action: str,
  tokenizer: tokenizers.Tokenizer,
  *,
  seed: int = 0,
) -> Acted:
  """Takes a turn with this action.

  Raises:
    Exception: whatever the environment raises; it pays no finite number.
  """
  episode = opened(place, seed)
  ids = [*tokenizer.encode(action), tokenizer.stop_ids[0]]
  shown, reward, terminated, truncated, info = episode.step(action)
  if terminated or truncated:
    return Acted(ids, games.finite(reward), None)
  tokens = [*ids, *tokenizer.turn(shown)]
  state: Hashable = info.get("state_key", shown)
  after = place._replace(
    length=place.length + len(tokens),
    turn=place.turn + 1,
    state=state,
    snapshot=episode.snapshot(),
  )
  return Acted(tokens, games.finite(reward), after)


def place_of(
  found: played.Played, row: int, turn: int, first: Any = None
) -> played.Place | None:
  """Returns where a step of a row began; None if nobody kept it.

  Args:
    turn: of the row's record.
    first: where the row was continued from, if it was.
  """
  begin = edits.starts(found.record, row)[turn]
  known = [*([first] if first is not None else []), *places(found, row)]
  return next((place for place in known if place.length == begin), None)


def text_of(
  log: record.Record, row: int, turn: int, tokenizer: tokenizers.Tokenizer
) -> str:
  """Returns what was written in a step, without the end of the turn."""
  step = log.segment[row] == row * log.reward.shape[1] + turn
  return tokenizer.decode(log.tokens[row, step].tolist())


def stage(
  found: played.Played,
  rows: Sequence[int],
  kept: Sequence[int],
  tokens: Sequence[Sequence[int]],
  origin: Sequence[Any],
) -> played.Played:
  """Returns rows that nobody chose, to be continued from their ends.

  Args:
    rows: of `found`, which each begins as.
    kept: how many tokens of it.
    tokens: that follow them.
    origin: what it takes to continue each: a `Start`, or one `Place`.
  """
  chosen = played.select(found, np.asarray(rows, np.int64))
  parts: dict[int, list[edits.Part]] = {
    i: [slice(0, kept[i]), (tokens[i], -1)] for i in range(len(rows))
  }
  log = edits.rewrite(chosen.record, parts, {i: [] for i in parts})
  for table in (log.mask, log.log_probs, log.raw_log_probs):
    table[...] = 0
  wrapped = tuple(x if isinstance(x, played.Start) else (x,) for x in origin)
  return chosen._replace(
    record=log, stop=["cut"] * len(rows), origin=wrapped, whole=None
  )


def ends(found: played.Played) -> list[tuple[int, int]]:
  """Returns a cut at the end of every row."""
  return [(row, int(n)) for row, n in enumerate(found.record.length)]
