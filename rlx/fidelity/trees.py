"""Trees drawn from a set of worlds, and their step tables.

A node is a segment of `SEGMENT` steps, and on the last level all that is left;
every node that has not ended is continued twice. So a tree of depth D has at
most 2^D leaves, which are its group. Rows stand as `rlx.rollout.plans.tree`
lays them out: a row for each node, `depth` 0 and `parent` -1 for the children of the
prompt, the outcome on leaves and 0 elsewhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlx.fidelity import exact as exact_values
from rlx.fidelity import sample
from rlx.fidelity import world as world_types

SEGMENT = 2
FILLED = ("parent", "depth", "tree", "segment_log_prob", "node", "leaves")


class Trees(NamedTuple):
  """`B` batches of a tree for each of `P` prompts, `R` nodes of `T` steps.

  Attributes:
    columns: of the step tables, flattened to [B, P * R].
    state, action, live, turn: of each step, [B, P, R, T].
  """

  columns: dict[str, np.ndarray]
  state: np.ndarray
  action: np.ndarray
  live: np.ndarray
  turn: np.ndarray


def branches(num_leaves: int) -> list[int]:
  """Children of a node on each level: twos, then what is left.

  Raises:
    ValueError: there are fewer than two leaves.
  """
  if num_leaves < 2:
    raise ValueError(f"a tree of {num_leaves} leaves: it needs 2 or more")
  found = []
  while num_leaves % 2 == 0:
    found.append(2)
    num_leaves //= 2
  return found + [num_leaves] * (num_leaves > 1)


def num_nodes(num_leaves: int) -> int:
  """Most nodes that the tree of a prompt has."""
  return int(np.cumprod(branches(num_leaves)).sum())


def grow(
  world: world_types.Worlds,
  truth: exact_values.Exact,
  num_batches: int,
  num_leaves: int,
  rng: np.random.Generator,
) -> list[sample.Walk]:
  """The walks of each level, from [B, P, children] starts.

  A node below one that has ended has no live step.
  """
  factors = branches(num_leaves)
  state = np.broadcast_to(
    world.start[:, None], (num_batches, len(world.start), 1)
  )
  levels, left = [], world.horizon
  for depth, factor in enumerate(factors):
    last = depth + 1 == len(factors)
    turns = left if last else min(SEGMENT, left)
    start = np.repeat(state, factor, -1)
    levels.append(sample.walk(world, truth, start, turns, rng))
    state, left = levels[-1].end, left - turns
  return levels


def tree_table(
  truth: exact_values.Exact, levels: Sequence[sample.Walk], rows: int
) -> Trees:
  """The step tables of what has grown, with `rows` rows for each prompt."""
  wide = max(walk.live.shape[-1] for walk in levels)
  parts: dict[str, list[np.ndarray]] = {}
  above = first = 0  # Nodes of a prompt on the level above, and before that.
  for depth, walk in enumerate(levels):
    turn = depth * SEGMENT + np.arange(walk.live.shape[-1])
    steps = {
      "state": walk.state,
      "action": walk.action,
      "live": walk.live,
      "turn": np.broadcast_to(turn, walk.live.shape),
    }
    level = _level(truth, levels, depth, above, first)
    level |= {f"steps/{k}": _widen(x, wide) for k, x in steps.items()}
    for name, x in level.items():
      parts.setdefault(name, []).append(x)
    first, above = first + above, walk.live.shape[2]
  found = {k: _pad_rows(np.concatenate(x, 2), rows) for k, x in parts.items()}
  of_steps = {
    name: found.pop(f"steps/{name}")
    for name in Trees._fields
    if name != "columns"
  }
  return Trees(columns=_finish(found), **of_steps)


def _level(truth, levels, depth, above, first) -> dict[str, np.ndarray]:
  """The columns of one level, with parents numbered within the prompt."""
  walk = levels[depth]
  exists = walk.live.any(-1)
  leaf = exists
  if depth + 1 < len(levels):
    below = levels[depth + 1].live.any(-1)
    leaf = exists & ~below.reshape(*exists.shape, -1).any(-1)
  parent = np.full(exists.shape[2], -1)
  if depth:
    parent = first + np.arange(exists.shape[2]) // (exists.shape[2] // above)
  prompt = np.arange(exists.shape[1])[:, None, None]
  log_probs = np.log(truth.policy[prompt, walk.state, walk.action])
  return {
    "weight": exists,
    "parent": np.where(exists, parent, -1),
    "depth": np.full(exists.shape, depth),
    "outcome": np.where(leaf, walk.gain, 0.0),
    "reward": np.where(leaf, walk.gain, 0.0),
    "state": walk.state[..., 0],
    "action": walk.action[..., 0],
    "next_state": walk.end,
    "segment_log_prob": (log_probs * walk.live).sum(-1),
  }


def _finish(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The columns that are the same for all levels, and rows flattened."""
  shape = found["weight"].shape
  num_prompts, rows = shape[1:]
  prompt = np.broadcast_to(np.arange(num_prompts)[:, None], shape)
  row = np.arange(num_prompts * rows).reshape(num_prompts, rows)
  zeros = np.zeros(shape)
  parent = found["parent"]
  found = found | {
    "parent": np.where(parent >= 0, parent + prompt * rows, -1),
    "prompt": prompt,
    "tree": prompt,
    "trajectory": np.broadcast_to(row, shape),
    "index": zeros,
    "role": zeros,
    "value": zeros,
    "continues": zeros,
    "vote": found["weight"].astype(float),
    "node": zeros,
  }
  return {k: x.reshape(shape[0], -1) for k, x in found.items()}


def _widen(x: np.ndarray, size: int) -> np.ndarray:
  """More steps of a node, none of them live."""
  return np.pad(x, [(0, 0)] * 3 + [(0, size - x.shape[-1])])


def _pad_rows(x: np.ndarray, size: int) -> np.ndarray:
  """More nodes of a prompt, none of which exists."""
  return np.pad(
    x, [(0, 0)] * 2 + [(0, size - x.shape[2])] + [(0, 0)] * (x.ndim - 3)
  )
