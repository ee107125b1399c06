"""A step table from the few columns that cannot be derived."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch

Column = Sequence[int | float] | np.ndarray | jax.Array


def step_table(
  *,
  trajectory: Column,
  reward: Column,
  prompt: Column | None = None,
  weight: Column | None = None,
  extras: Mapping[str, Column] | None = None,
  **columns: Column,
) -> batch.Steps:
  """A step table, with what is not given derived from what is.

  Runs on the host; it is for trajectories that come from elsewhere, for a
  notebook, for tests. `index`, `parent`, `depth`, `continues`, `vote` and
  `outcome` (the sum of the rewards) are those of the live rows of each
  trajectory; other columns are 0.

  Args:
    trajectory: whose step each row is. Rows of one stand together, in order.
    reward: paid for each step.
    prompt: the group of each row; one group without.
    weight: 0 for padding, which may stand anywhere.
    extras: named evidence columns.
    columns: any other field of `Steps`.

  Raises:
    ValueError: a column has another length, or is no field of `Steps`.
  """
  trajectory = np.asarray(trajectory, np.int32)
  size = len(trajectory)
  weight = np.ones(size) if weight is None else np.asarray(weight)
  prompt = np.zeros(size) if prompt is None else prompt
  given = {"prompt": prompt, "reward": reward, "weight": weight, **columns}
  unknown = sorted(given.keys() - batch.Steps.__annotations__.keys())
  if unknown:
    valid = ", ".join(batch.Steps.__annotations__)
    raise ValueError(f"no column {', '.join(unknown)}; there are: {valid}")
  for name, x in (given | dict(extras or {})).items():
    if np.shape(x) != (size,):
      raise ValueError(f"{name} has shape {np.shape(x)}, not ({size},)")
  live = weight > 0
  fields = dict.fromkeys(_ALL, np.zeros(size)) | {"trajectory": trajectory}
  fields |= _derive(trajectory, np.where(live, reward, 0.0), live) | given
  evidence = {k: jnp.asarray(x, jnp.float32) for k, x in (extras or {}).items()}
  made: dict[str, Any] = {name: _cast(name, x) for name, x in fields.items()}
  return batch.Steps(**made, extras=evidence)


_ALL = tuple(x for x in batch.Steps.__annotations__ if x != "extras")
_FLOATS = ("reward", "outcome", "value", "continues", "vote", "weight")


def _cast(name: str, x: Column):
  return jnp.asarray(x, jnp.float32 if name in _FLOATS else jnp.int32)


def _derive(trajectory, reward, live) -> dict[str, np.ndarray]:
  """The columns that follow from whose step each row is."""
  size = len(trajectory)
  out = {name: np.zeros(size, np.int32) for name in ("index", "depth")}
  out |= {name: np.zeros(size) for name in ("continues", "vote", "outcome")}
  out["parent"] = np.full(size, -1)
  for one in np.unique(trajectory[live]):
    rows = np.flatnonzero(live & (trajectory == one))
    out["index"][rows] = out["depth"][rows] = np.arange(len(rows))
    out["parent"][rows[1:]] = rows[:-1]
    out["continues"][rows[:-1]] = 1
    out["vote"][rows] = 1 / len(rows)
    out["outcome"][rows] = reward[rows].sum()
  return out
