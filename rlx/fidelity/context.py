"""What the columns of a table are made from, and what is true of its rows."""

import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rlx.fidelity import exact as exact_values
from rlx.fidelity import sample
from rlx.fidelity import world as world_types


class Context(NamedTuple):
  """What the columns are made from.

  Attributes:
    world: that was played.
    truth: about it.
    played: the trajectories.
    extra: continuations drawn at each boundary between steps.
    seed: of what is drawn for the columns.
  """

  world: world_types.Worlds
  truth: exact_values.Exact
  played: sample.Chains
  extra: int
  seed: tuple[int, ...]

  def rng(self, name: str) -> np.random.Generator:
    """Draws for one column, the same whichever others are asked for."""
    return np.random.default_rng([*self.seed, zlib.crc32(name.encode())])


Column = Float[np.ndarray, "B P G T"]


def looked_up(context: Context, table: np.ndarray, *keys: np.ndarray) -> Column:
  """Entries of a table [P, H, ...] at each row's prompt, clock and keys."""
  prompt = np.arange(table.shape[0])[:, None, None]
  left = sample.turns_left(context.played, context.world.horizon)
  return table[prompt, left, *keys]


def value(context: Context) -> Column:
  """The exact value of the state acted on."""
  return looked_up(context, context.truth.values, context.played.state)


def advantage(context: Context) -> Column:
  """The exact advantage of the action taken."""
  played = context.played
  return looked_up(
    context, context.truth.advantages, played.state, played.action
  )
