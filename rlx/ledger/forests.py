"""Every batch of trees that can be grown, with its probability.

A prompt has as many branches as a group has members; each step behind one of
them is continued twice, and the third steps once. Children are independent
draws given their parent, as `rollout.plans.tree` makes them, and every step of
the tree is a row of its own.
"""

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rlx.ledger import batches, evidence, truth

# Sequences that every batch is padded to: 3 + 6 + 6, or two prompts with 4.
ROWS = 15
INNER = (2, 1)  # Branches of second and third steps.


class Node(NamedTuple):
  """A step with what was grown behind it.

  Attributes:
    episode: any that begins with this step and those before it.
    turn: which step of it.
    children: further nodes.
  """

  episode: int
  turn: int
  children: tuple["Node", ...]


class _Seen(NamedTuple):
  """What may happen behind a beginning: first episode, mass, and the next."""

  episode: int
  mass: float
  after: dict[Hashable, "_Seen"]


def forests(
  cases: Sequence[batches.Case], extras: Sequence[str]
) -> batches.Batches:
  """Returns all batches of trees; to be called where float64 is enabled.

  Args:
    extras: evidence columns to fill, see `evidence`.
  """
  parts = []
  for case in cases:
    drawn = list(_draw(case))
    nodes = np.full((3, len(drawn), ROWS), -1)
    for k, (trees, _) in enumerate(drawn):
      flat = list(_flatten(trees))
      nodes[:, k, : len(flat)] = np.array(flat).T
    rows, turns, parent = nodes
    table = _table(case.known, rows, turns, parent, extras)
    parts.append((table, rows, np.array([p for _, p in drawn])))
  return batches.join(parts)


def _draw(
  case: batches.Case,
) -> Iterator[tuple[tuple[Node, ...], float]]:
  """The nodes at the roots of every batch."""
  known = case.known
  branches = (case.group, *INNER)
  each = []
  for prompt in range(len(known.listed.mdp.starts)):
    own = np.flatnonzero(known.listed.prompt == prompt)
    seen = _beginnings(known, own.tolist(), 0)
    each.append(list(_children(seen, 0, branches)))
  for chosen in itertools.product(*each):
    yield (
      tuple(node for nodes, _ in chosen for node in nodes),
      math.prod(p for _, p in chosen),
    )


def _beginnings(
  known: truth.Truth, own: Sequence[int], turn: int
) -> dict[Hashable, _Seen]:
  """What the step `turn` of these episodes, which agree before it, may be."""
  groups: dict[Hashable, list[int]] = {}
  for n in own:
    steps = known.listed.episodes[n].steps
    if turn < len(steps):
      groups.setdefault(steps[turn], []).append(n)
  return {
    step: _Seen(
      members[0],
      float(known.probability[members].sum()),
      _beginnings(known, members, turn + 1),
    )
    for step, members in groups.items()
  }


def _children(
  seen: dict[Hashable, _Seen], turn: int, branches: Sequence[int]
) -> Iterator[tuple[tuple[Node, ...], float]]:
  """Every multiset of nodes behind a beginning; nothing behind an end."""
  if not seen:
    yield (), 1.0
    return
  total = sum(each.mass for each in seen.values())
  options = [
    (Node(each.episode, turn, nodes), each.mass / total * p)
    for each in seen.values()
    for nodes, p in _children(each.after, turn + 1, branches)
  ]
  chances = [p for _, p in options]
  for members, p in batches.multisets(chances, branches[turn]):
    yield tuple(options[m][0] for m in members), p


def _flatten(trees: Sequence[Node]) -> Iterator[tuple[int, int, int]]:
  """(episode, turn, row of the parent), level after level."""
  level, first = [(node, -1) for node in trees], 0
  while level:
    yield from ((node.episode, node.turn, parent) for node, parent in level)
    below = [
      (child, first + k)
      for k, (node, _) in enumerate(level)
      for child in node.children
    ]
    level, first = below, first + len(level)


def _table(
  known: truth.Truth,
  rows: np.ndarray,
  turns: np.ndarray,
  parent: np.ndarray,
  extras: Sequence[str],
) -> batches.Table:
  """The rollouts and step tables of batches of trees, in NumPy."""
  one = known.listed
  present = rows >= 0
  at = lambda x: np.where(present, x[rows, turns], 0)
  take = lambda x: np.where(present[..., None], x[rows], 0)
  turn = np.where(present[..., None], one.turn[rows], -1)
  own = present[..., None] & (turn == turns[..., None])
  position = np.broadcast_to(np.arange(ROWS), rows.shape)
  columns = {k: at(x) for k, x in batches.step_columns(known).items()}
  steps = columns | {
    "index": np.zeros_like(position),
    "trajectory": position,
    "parent": parent,
    "tree": columns["prompt"],
    "outcome": at(np.cumsum(one.reward, 1)),
    "continues": np.zeros(rows.shape),
    "vote": present.astype(float),
    "extras": {n: at(evidence.told(n).column(known)) for n in extras},
  }
  return {
    "rollout": batches.rollout(
      take(one.choice),
      np.where(own, take(known.log_probs), 0.0),
      valid=(turn >= 0) & (turn <= turns[..., None]),
      segment=np.where(own, position[..., None], -1),
    ),
    "steps": steps,
    "entropy": take(known.entropy),
    "values": take(known.to_go),
    "begins": present & (parent < 0),
  }
