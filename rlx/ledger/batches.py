"""Every batch that can be sampled, with its probability."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx.ledger import episodes, evidence, mdps, truth

# Sequences that every batch is padded to, so that a recipe is compiled once.
ROWS = 8


class Case(NamedTuple):
  """A process, a policy and a group size: one sum over batches."""

  known: truth.Truth
  group: int

  @property
  def name(self) -> str:
    """For a reader."""
    return f"{self.known.listed.mdp.name}/{self.known.policy}/{self.group}"


# What a recipe sees: K batches, one behind another. "rollout" and "steps" hold
# the columns of `batch.Rollout` and `batch.Steps`, "entropy" and "values" are
# [K B L], the second what a critic says before each token, and "begins" [K B]
# marks the rows that begin a trajectory.
Table = dict[str, Any]


class Batches(NamedTuple):
  """All batches of some cases.

  Attributes:
    table: what a recipe sees of them, every leaf [K ...].
    case: [K], whose batch each is.
    episode: [K B], whose tokens stand in each row, -1 for padding.
    probability: [K].
  """

  table: Table
  case: np.ndarray
  episode: np.ndarray
  probability: np.ndarray


def every_case() -> list[Case]:
  """Returns every process, policy and group size; under float64."""
  return [
    Case(known, group)
    for mdp in mdps.ALL
    for policy in truth.LOGITS
    for known in [truth.truth(episodes.listed(mdp), policy)]
    for group in mdp.groups
  ]


def batches(cases: Sequence[Case], extras: Sequence[str]) -> Batches:
  """Returns all batches of groups; to be called where float64 is enabled.

  Args:
    extras: evidence columns to fill, see `evidence`.
  """
  parts = []
  for case in cases:
    drawn = list(_draw(case))
    rows = np.full((len(drawn), ROWS), -1)
    for k, (members, _) in enumerate(drawn):
      rows[k, : len(members)] = members
    table = _table(case.known, rows, extras)
    parts.append((table, rows, np.array([p for _, p in drawn])))
  return join(parts)


def join(parts: Sequence[tuple[Table, np.ndarray, np.ndarray]]) -> Batches:
  """Returns batches from the (table, episode, probability) of each case."""
  tables, rows, chances = zip(*parts, strict=True)
  put = lambda x: jnp.asarray(x.astype(np.int32) if x.dtype == int else x)
  table = jax.tree.map(lambda *x: put(np.concatenate(x)), *tables)
  case = np.repeat(np.arange(len(parts)), [len(x) for x in rows])
  return Batches(table, case, np.concatenate(rows), np.concatenate(chances))


def multisets(
  probability: Sequence[float], size: int
) -> Iterator[tuple[tuple[int, ...], float]]:
  """Every multiset of `size` independent draws, with its probability."""
  for members in itertools.combinations_with_replacement(
    range(len(probability)), size
  ):
    orders = math.factorial(size)
    for member in set(members):
      orders //= math.factorial(members.count(member))
    yield members, orders * math.prod(probability[m] for m in members)


def _draw(case: Case) -> Iterator[tuple[tuple[int, ...], float]]:
  """Every batch: a group for each prompt. Rows of one prompt are adjacent."""
  known = case.known
  groups = []
  for prompt in range(len(known.listed.mdp.starts)):
    own = np.flatnonzero(known.listed.prompt == prompt)
    chance = known.probability[own].tolist()
    groups.append(
      [
        (tuple(own[list(members)].tolist()), p)
        for members, p in multisets(chance, case.group)
      ]
    )
  for chosen in itertools.product(*groups):
    rows = tuple(row for members, _ in chosen for row in members)
    yield rows, math.prod(p for _, p in chosen)


def _table(
  known: truth.Truth, rows: np.ndarray, extras: Sequence[str]
) -> Table:
  """The rollouts and step tables of batches of episodes, in NumPy."""
  one = known.listed
  present = rows >= 0
  take = lambda x: np.where(
    present.reshape(*rows.shape, *[1] * (x.ndim - 1)), x[rows], 0
  )
  turn = np.where(present[..., None], one.turn[rows], -1)
  base = np.arange(ROWS)[:, None] * episodes.TURNS
  flat = lambda x: take(x).reshape(len(rows), -1)
  steps = jax.tree.map(flat, _steps(known, extras))
  live = steps["weight"] > 0
  position = np.arange(ROWS * episodes.TURNS)
  whose = np.broadcast_to(position // episodes.TURNS, live.shape)
  behind = live & (steps["index"] > 0)
  return {
    "rollout": rollout(
      take(one.choice),
      take(known.log_probs),
      valid=turn >= 0,
      segment=np.where(turn >= 0, base + turn, -1),
    ),
    "steps": steps
    | {
      "trajectory": whose,
      "parent": np.where(behind, position - 1, -1),
      "tree": whose,
    },
    "entropy": take(known.entropy),
    "values": take(known.to_go),
    "begins": present,
  }


def rollout(
  tokens: np.ndarray, log_probs: np.ndarray, *, valid, segment
) -> Table:
  """Tokens of which those are chosen that are in a segment."""
  return {
    "tokens": tokens,
    "valid": valid,
    "mask": segment >= 0,
    "log_probs": log_probs,
    "raw_log_probs": log_probs,
    "segment": segment,
    "version": np.zeros_like(tokens),
  }


def _steps(known: truth.Truth, extras: Sequence[str]) -> Table:
  """The step table of each episode on its own, [N T] a column."""
  one = known.listed
  turns = one.turn.max(1, keepdims=True) + 1
  index = np.broadcast_to(np.arange(episodes.TURNS), one.reward.shape)
  live = index < turns
  # What is so far is of the whole episode on its last row, and so on all.
  whole = lambda x: np.repeat(x[:, -1:], episodes.TURNS, 1)
  told = {name: evidence.told(name) for name in extras}
  found = {name: each.column(known) for name, each in told.items()}
  columns = step_columns(known) | {
    "outcome": whole(np.cumsum(one.reward, 1)),
    "continues": (index < turns - 1).astype(float),
    "vote": np.broadcast_to(1 / turns, live.shape),
  }
  extra = {
    name: np.where(live, whole(x) if told[name].total else x, 0.0)
    for name, x in found.items()
  }
  columns = {name: np.where(live, x, 0) for name, x in columns.items()}
  return columns | {"extras": extra}


def step_columns(known: truth.Truth) -> dict[str, Any]:
  """Columns [N T] of steps, which are the same in chains and in trees."""
  one = known.listed
  index = np.broadcast_to(np.arange(episodes.TURNS), one.reward.shape)
  state, action, next_state = _keys(one)
  return {
    "prompt": np.broadcast_to(one.prompt[:, None], index.shape),
    "index": index,
    "depth": index,
    "role": index % 2,
    "state": state,
    "action": action,
    "next_state": next_state,
    "reward": one.reward,
    "value": known.before - (np.cumsum(one.reward, 1) - one.reward),
    "weight": np.ones(index.shape),
  }


def _keys(one: episodes.Listed) -> np.ndarray:
  """Keys [3 N T] of observation, action, and what followed.

  What is seen at the end of an episode is what the last step was paid.
  """
  names: dict[object, int] = {}
  key = lambda x: names.setdefault(x, len(names))
  out = np.zeros((3, *one.reward.shape), np.int32)
  for n, episode in enumerate(one.episodes):
    for t, step in enumerate(episode.steps):
      seen = episodes.observed(step.state)
      after = ("end", step.reward)
      if step.next_state is not None:
        after = episodes.observed(step.next_state)
      out[:, n, t] = [key(seen), key(("do", step.action)), key(after)]
  return out
