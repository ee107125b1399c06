"""Every batch that can be sampled, with its probability."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch, pytree
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


@pytree.dataclass
class Table:
  """What a recipe sees: K batches, one behind another, on the device."""

  rollout: batch.Rollout
  steps: batch.Steps
  entropy: jax.Array
  values: jax.Array


class Batches(NamedTuple):
  """All batches of some cases.

  Attributes:
    table: what a recipe sees of them, every leaf [K ...].
    case: [K], whose batch each is.
    episode: [K B], what stands in each row, -1 for padding.
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
  """Returns all batches; to be called where float64 is enabled.

  Args:
    extras: evidence columns to fill, see `evidence`.
  """
  parts = []
  for number, case in enumerate(cases):
    drawn = list(_draw(case))
    rows = np.full((len(drawn), ROWS), -1)
    for k, (members, _) in enumerate(drawn):
      rows[k, : len(members)] = members
    columns = _columns(case.known, rows, extras)
    chance = np.array([p for _, p in drawn])
    parts.append((columns, np.full(len(drawn), number), rows, chance))
  tables, *rest = zip(*parts, strict=True)
  table = jax.tree.map(lambda *x: jnp.asarray(np.concatenate(x)), *tables)
  case, rows, chance = (np.concatenate(x) for x in rest)
  return Batches(table, case, rows, chance)


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


def _columns(
  known: truth.Truth, rows: np.ndarray, extras: Sequence[str]
) -> Table:
  """The rollouts and step tables of batches of episodes, in NumPy."""
  one = known.listed
  present = rows >= 0
  take = lambda x: np.where(
    present.reshape(*rows.shape, *[1] * (x.ndim - 1)), x[rows], 0
  )
  turn = np.where(present[..., None], one.turn[rows], -1)
  mask = turn >= 0
  base = np.arange(ROWS)[:, None] * episodes.TURNS
  log_probs = take(known.log_probs)
  rollout = batch.Rollout(
    tokens=take(one.choice),
    valid=mask,
    mask=mask,
    log_probs=log_probs,
    raw_log_probs=log_probs,
    segment=np.where(mask, base + turn, -1).astype(np.int32),
    version=np.zeros_like(turn),
  )
  flat = lambda x: take(x).reshape(len(rows), -1)
  steps = jax.tree.map(flat, _steps(known, extras))
  live = steps.weight > 0
  position = np.arange(ROWS * episodes.TURNS)
  steps = dataclasses.replace(
    steps,
    trajectory=np.broadcast_to(position // episodes.TURNS, live.shape),
    parent=np.where(live & (steps.index > 0), position - 1, -1),
    tree=np.broadcast_to(position // episodes.TURNS, live.shape),
  )
  integers = lambda x: x.astype(np.int32) if x.dtype == np.int64 else x
  return jax.tree.map(
    integers,
    Table(
      rollout=rollout,
      steps=steps,
      entropy=take(known.entropy),
      values=take(known.to_go),
    ),
  )


def _steps(known: truth.Truth, extras: Sequence[str]) -> batch.Steps:
  """The step table of each episode on its own, [N T] a column."""
  one = known.listed
  turns = one.turn.max(1, keepdims=True) + 1
  index = np.broadcast_to(np.arange(episodes.TURNS), one.reward.shape)
  live = index < turns
  spread = lambda x: np.where(live, x[:, None], 0)
  keys = _keys(one)
  paid = np.cumsum(one.reward, 1) - one.reward
  return batch.Steps(
    prompt=spread(one.prompt),
    trajectory=np.zeros_like(index),
    index=index * live,
    parent=np.zeros_like(index),
    depth=index * live,
    tree=np.zeros_like(index),
    role=index % 2 * live,
    state=keys[0],
    action=keys[1],
    next_state=keys[2],
    reward=one.reward,
    outcome=spread(one.outcome),
    value=np.where(live, known.before - paid, 0.0),
    continues=(index < turns - 1).astype(float),
    vote=np.where(live, 1 / turns, 0.0),
    weight=live.astype(float),
    extras={
      name: np.where(live, evidence.told(name).column(known), 0.0)
      for name in extras
    },
  )


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
