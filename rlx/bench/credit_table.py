"""The step table on which credit is timed."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from rlx import batch, recipes

STEPS = 32  # Of a trajectory.
GROUP = 16  # Trajectories of a prompt.
STATES = 64  # That the steps of a prompt may be in.


def make(recipe: recipes.Recipe, rows: int, seed: int = 0) -> batch.Steps:
  """Returns `rows / 32` trajectories of 32 steps, with all a recipe reads.

  States, actions and evidence are drawn anew for each step, rewards stand on
  half of the last ones. Where the recipe reads `parent`, trajectories are
  binary trees of 32 rows in which row i is a child of row (i - 1) // 2.

  Raises:
    ValueError: rows are no multiple of 32.
  """
  if rows % STEPS or rows < STEPS:
    raise ValueError(f"rows={rows}: must be a multiple of {STEPS}")
  rng = np.random.default_rng(seed)
  row = np.arange(rows)
  trajectory, index = np.divmod(row, STEPS)
  reward = np.where(index == STEPS - 1, rng.random(rows) < 0.5, 0.0)
  outcome = np.repeat(reward[STEPS - 1 :: STEPS], STEPS)
  hashes = lambda: rng.integers(2**31, size=STATES)[
    rng.integers(STATES, size=rows)
  ]
  parent, depth = np.where(index > 0, row - 1, -1), index
  if "parent" in recipe.evidence:
    parent = np.where(index > 0, row - index + (index - 1) // 2, -1)
    depth = np.floor(np.log2(index + 1))
    outcome = (rng.random(rows) < 0.5).astype(np.float32)  # Of each leaf.
  ints = lambda x: jnp.asarray(x, jnp.int32)
  floats = lambda x: jnp.asarray(x, jnp.float32)
  known = {"length", *(f.name for f in dataclasses.fields(batch.Steps))}
  names = [x for x in recipe.evidence if x not in known]
  return batch.Steps(
    prompt=ints(trajectory // GROUP),
    trajectory=ints(trajectory),
    index=ints(index),
    parent=ints(parent),
    depth=ints(depth),
    tree=ints(trajectory),
    role=ints(index % 2),
    state=ints(hashes()),
    action=ints(hashes()),
    next_state=ints(hashes()),
    reward=floats(reward),
    outcome=floats(outcome),
    value=floats(rng.random(rows)),
    continues=floats(index < STEPS - 1),
    vote=floats(np.full(rows, 1 / STEPS)),
    weight=floats(np.ones(rows)),
    extras={
      "length": floats(np.full(rows, STEPS)),
      **{name: floats(rng.random(rows)) for name in names},
    },
  )
