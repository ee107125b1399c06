"""Step tables of whole batches, and what a recipe makes of them."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rlx import batch, credit
from rlx.fidelity import sample
from rlx.recipes import recipe as recipes

# Columns of `B` step tables, extras among them.
Columns = dict[str, np.ndarray]


def chain_table(
  played: sample.Chains, given: Mapping[str, np.ndarray], turns: int
) -> Columns:
  """The columns of `B` tables with a row for each turn, `turns` a trajectory.

  `given` are columns beside those that follow from what was played.
  A row is a step whatever the recipe's level: here a step is one token. Rows
  stand in the order of prompts, members and turns, with padding after each
  trajectory, so that every group size has tables of the same shape.
  """
  index = np.broadcast_to(np.arange(played.live.shape[-1]), played.live.shape)
  live = played.live
  after = np.zeros_like(live)
  after[..., :-1] = live[..., 1:]
  outcome = np.where(live, played.outcome[..., None], 0.0)
  length = np.maximum(live.sum(-1, keepdims=True), 1)
  prompt = np.arange(live.shape[1])[:, None, None]
  made: dict[str, np.ndarray] = {
    "prompt": np.broadcast_to(prompt, live.shape),
    "index": index,
    "depth": index,
    "tree": np.broadcast_to(prompt, live.shape),
    "role": index % 2,
    "state": played.state,
    "action": played.action,
    "next_state": played.next_state,
    "reward": np.where(after, 0.0, outcome),
    "outcome": outcome,
    "value": np.zeros(live.shape),
    "continues": live & after,
    "vote": live / length,
    "weight": live,
  }
  made = {k: flat(x, turns) for k, x in (made | dict(given)).items()}
  rows = np.arange(made["weight"].shape[1])
  made["trajectory"] = np.broadcast_to(rows // turns, made["weight"].shape)
  has_parent = (made["weight"] > 0) & (made["index"] > 0)
  made["parent"] = np.where(has_parent, rows - 1, -1)
  return made


def flat(x: np.ndarray, turns: int) -> np.ndarray:
  """[B, P, G, T] as [B, S] with `turns` rows for each trajectory."""
  wide = np.zeros((*x.shape[:3], turns), x.dtype)
  wide[..., : x.shape[-1]] = x
  return wide.reshape(len(x), -1)


Assign = Callable[[Columns], Float[np.ndarray, "B S"]]


def assign(recipe: recipes.Recipe) -> Assign:
  """The recipe's advantages of `B` tables, one after the other.

  The recipe's state goes from each batch to the next, as in training. Compiled
  once for each shape of tables.
  """

  @jax.jit
  def run(columns):
    def body(state, one):
      advantages, state = credit.advantages(recipe.credit, state, _table(one))
      return state, advantages

    return jax.lax.scan(body, recipe.credit.init(), columns)[1]

  return lambda columns: np.asarray(run(_cast(columns)), np.float64)


_FIELDS = tuple(x for x in batch.Steps.__annotations__ if x != "extras")
_FLOATS = ("reward", "outcome", "value", "continues", "vote", "weight")


def _cast(columns: Columns) -> dict[str, np.ndarray]:
  whole = lambda name: name in _FIELDS and name not in _FLOATS
  return {
    k: x.astype(np.int32 if whole(k) else np.float32)
    for k, x in columns.items()
  }


def _table(columns: dict[str, jax.Array]) -> batch.Steps:
  extras = {k: x for k, x in columns.items() if k not in _FIELDS}
  fields = {k: jnp.asarray(columns[k]) for k in _FIELDS}
  return batch.Steps(**fields, extras=extras)
