"""The layout of trees: a row for every edge."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlx.rollout import plan, played, record


class Node(NamedTuple):
  """An edge of a tree: what was drawn in one step, behind its prefix."""

  drawn: int  # Which call of `continue_from` drew it.
  row: int  # In what that call returned.
  parent: int  # Its number among the nodes, -1 for a child of the prompt.
  prompt: int  # Its place in the batch.
  tree: int  # Unique in the batch.
  depth: int
  paid: float  # Rewards on the path from the prompt, its own included.
  open: bool  # Not finished, so that it is to have children.


def lay_out(
  nodes: Sequence[Node],
  drawn: Sequence[played.Played],
  prompt_ids: np.ndarray,
  size: plan.Size,
  each: int,
  version: int,
) -> played.Played:
  """Returns the nodes as rows, and leaves out what has no leaf below it.

  Args:
    drawn: what was played to get them.
    each: rows of a prompt.
    version: update count of the parameters.
  """
  rows, inner = _rows(nodes, each)
  num = len(prompt_ids)
  log = record.Record.empty(
    np.repeat(prompt_ids, each),
    np.tile(np.arange(each), num),
    length=size.length,
    turns=1,
    version=version,
    evidence=tuple(drawn[0].record.columns) if drawn else (),
  )
  column: dict[str, np.ndarray] = {
    name: np.zeros((size.rows, 1), np.int32) for name in ("depth", "tree")
  }
  column["parent"] = np.full((size.rows, 1), -1, np.int32)
  out = played.Played(
    record=log,
    success=np.zeros(size.rows, bool),
    stop=["dropped"] * size.rows,
    parse_errors=np.zeros(size.rows, np.int32),
    seconds={},
    rewards=played.mean_rewards(drawn),
    whole=np.zeros(size.rows, bool),
  )
  column["outcome"] = np.zeros((size.rows, 1), np.float32)
  for number, row in rows.items():
    node = nodes[number]
    _copy(drawn[node.drawn], node.row, out, row)
    column["depth"][row], column["tree"][row] = node.depth, node.tree
    column["parent"][row] = rows.get(node.parent, -1)
    column["outcome"][row] = node.paid
    assert out.whole is not None
    out.whole[row] = number not in inner
  log.columns.update(column)
  chosen = np.where(log.mask, log.raw_log_probs, 0.0)
  log.columns["segment_log_prob"] = chosen.sum(1, keepdims=True)
  return out


def _rows(nodes: Sequence[Node], each: int) -> tuple[dict[int, int], set[int]]:
  """Returns the row of each node that has one, and the inner nodes."""
  inner: set[int] = set()
  kept: list[int] = []
  # Children have higher numbers than their parents.
  for number in reversed(range(len(nodes))):
    node = nodes[number]
    if node.open and number not in inner:
      continue  # None of its children could be played.
    kept.append(number)
    inner.add(node.parent)
  rows, used = {}, collections.Counter()
  for number in reversed(kept):
    prompt = nodes[number].prompt
    rows[number] = prompt * each + used[prompt]
    used[prompt] += 1
  return rows, inner


def _copy(source: played.Played, here: int, out: played.Played, row: int):
  """Copies a row of one step into a batch."""
  old, new = source.record, out.record
  size = old.length[here]
  for name in ("tokens", "mask", "log_probs", "raw_log_probs"):
    getattr(new, name)[row, :size] = getattr(old, name)[here, :size]
  new.segment[row] = np.where(new.mask[row], row, -1)
  new.length[row], new.turns[row] = size, 1
  for name in ("reward", "state", "action", "next_state"):
    getattr(new, name)[row] = getattr(old, name)[here, :1]
  for name, column in old.columns.items():
    new.columns[name][row] = column[here, :1]
  out.success[row] = source.success[here]
  out.stop[row] = source.stop[here]
  out.parse_errors[row] = source.parse_errors[here]
