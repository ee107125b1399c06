"""Trajectories of a set of worlds, drawn all at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from rlx.fidelity import exact as exact_values
from rlx.fidelity import world as world_types


class Chains(NamedTuple):
  """`B` batches of `G` trajectories of `P` prompts, ragged in `T` turns.

  Attributes:
    state: acted on.
    action: taken.
    next_state: that followed.
    live: whether the turn was played.
    outcome: of the trajectory, 0 or 1.
  """

  state: Int[np.ndarray, "B P G T"]
  action: Int[np.ndarray, "B P G T"]
  next_state: Int[np.ndarray, "B P G T"]
  live: Bool[np.ndarray, "B P G T"]
  outcome: Float[np.ndarray, "B P G"]


class Walk(NamedTuple):
  """Some turns of trajectories that run side by side, turns last.

  Attributes:
    state, action, next_state, live: of each turn, as in `Chains`.
    gain: paid during these turns.
    end: the state after them.
  """

  state: np.ndarray
  action: np.ndarray
  next_state: np.ndarray
  live: np.ndarray
  gain: np.ndarray
  end: np.ndarray


def walk(
  world: world_types.Worlds,
  truth: exact_values.Exact,
  start: np.ndarray,
  turns: int,
  rng: np.random.Generator,
) -> Walk:
  """Plays `turns` turns from `start`, of which axis 1 is the prompt."""
  prompt = np.arange(start.shape[1])
  prompt = prompt.reshape(1, -1, *[1] * (start.ndim - 2))
  policy = truth.policy.cumsum(-1)
  leads = world.transition.cumsum(-1)
  draw = lambda sums: np.minimum(
    (rng.random(start.shape)[..., None] > sums).sum(-1), sums.shape[-1] - 1
  )
  state, gain, made = start, np.zeros(start.shape), []
  for _ in range(turns):
    live = ~world.terminal[prompt, state]
    action = draw(policy[prompt, state])
    following = np.where(live, draw(leads[prompt, state, action]), state)
    gain = gain + np.where(live, world.gain[prompt, following], 0.0)
    made.append((state, action, following, live))
    state = following
  columns = [np.stack(x, -1) for x in zip(*made, strict=True)]
  return Walk(*columns, gain=gain, end=state)


def chains(
  world: world_types.Worlds,
  truth: exact_values.Exact,
  num_batches: int,
  group: int,
  rng: np.random.Generator,
) -> Chains:
  """Whole trajectories from every prompt's first state."""
  start = np.broadcast_to(
    world.start[:, None], (num_batches, len(world.start), group)
  )
  played = walk(world, truth, start, world.horizon, rng)
  return Chains(*played[:4], outcome=played.gain)


def first(played: Chains, group: int) -> Chains:
  """The same with the first members of each group alone; no shape changes."""
  member = np.arange(played.live.shape[2]) < group
  return played._replace(live=played.live & member[:, None])


def turns_left(played: Chains, horizon: int) -> Int[np.ndarray, " T"]:
  """How many turns there are from each turn on, itself included."""
  return horizon - np.arange(played.live.shape[-1])
