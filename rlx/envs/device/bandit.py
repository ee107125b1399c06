"""A contextual bandit on arrays: which arm pays depends on what is shown."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rlx.envs.device import protocol

EVIDENCE = ("matched", "grounded")
_NOTHING, _LOST, _WON = range(3)


class Table(NamedTuple):
  """The state; axis `T` turns.

  Attributes:
    best: int32 [contexts], the arm that pays best in each.
    contexts: int32 [T].
    chance: float32 [T], in [0, 1): a pull pays where it is below the arm's
      probability.
    turn: int32 [], from 0; `T` at the end.
    outcome: int32 [] of the last pull.
    matched: int32 [], pulls of the best arm.
  """

  best: Any
  contexts: Any
  chance: Any
  turn: Any
  outcome: Any
  matched: Any


def make(
  *,
  num_contexts: int,
  num_arms: int,
  turns: int,
  good: float,
  bad: float,
  invalid_penalty: float,
  table: Callable[[int, str], tuple[np.ndarray, np.ndarray]],
) -> protocol.Game:
  """Returns the game.

  Args:
    good: probability that the best arm pays.
    bad: that another does.
    table: `(index, split) -> (best, contexts)`, see `Table`.
  """
  contexts = tuple(f"c{i}" for i in range(num_contexts))
  pieces = (*contexts, "lost ", "won ")

  def begin(index, split, seed):
    zero = np.zeros((), np.int32)
    chance = _chance(seed, turns)
    return Table(*table(index, split), chance, zero, zero, zero)

  def observe(state, xp):
    at = xp.minimum(state.turn, turns - 1)
    said = xp.where(
      state.outcome == _NOTHING, -1, num_contexts + state.outcome - 1
    )
    return xp.stack([said, state.contexts[at]]).astype(np.int32)

  def step(state, action, xp):
    readable = action >= 0
    best = readable & (action == state.best[state.contexts[state.turn]])
    odds = xp.where(best, np.float32(good), np.float32(bad))
    won = readable & (state.chance[state.turn] < odds)
    matched = state.matched + best
    terminated = state.turn + 1 == turns
    paid = xp.where(won, 1.0 / turns, 0.0)
    after = state._replace(
      turn=(state.turn + 1).astype(np.int32),
      outcome=xp.where(won, _WON, _LOST).astype(np.int32),
      matched=matched.astype(np.int32),
    )
    return protocol.Stepped(
      state=after,
      reward=xp.where(readable, paid, -invalid_penalty).astype(np.float32),
      terminated=terminated,
      truncated=xp.zeros((), bool),
      success=(2 * matched > turns).astype(np.int32),
      parse_error=~readable,
      evidence=xp.stack([best, readable]).astype(np.float32),
    )

  return protocol.Game(
    pieces=pieces,
    actions=tuple(f"a{i}" for i in range(num_arms)),
    begin=begin,
    reseed=lambda state, seed: state._replace(chance=_chance(seed, turns)),
    observe=observe,
    step=step,
    key=lambda state, xp: observe(state, xp),
    state_key=lambda numbers: " ".join(
      pieces[i].strip() for i in numbers if i >= 0
    ),
    evidence=EVIDENCE,
  )


def _chance(seed: int, turns: int) -> np.ndarray:
  return np.random.default_rng(seed).random(turns, np.float32)
