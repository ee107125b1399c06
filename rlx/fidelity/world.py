"""Worlds: finite decision processes with a tabular softmax policy."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Worlds:
  """A decision process for each of `P` prompts, and a policy for each.

  Attributes:
    name: of the set.
    transition: probability of each next state, for state and action.
    terminal: where an episode ends.
    gain: paid on entering a state, 0 or 1, and 1 only in terminal states.
    start: the first state.
    logits: of the policy, whose parameters they are.
    horizon: turns of an episode; one that lasts longer earns nothing.
  """

  name: str
  transition: Float[np.ndarray, "P N A N"]
  terminal: Bool[np.ndarray, "P N"]
  gain: Float[np.ndarray, "P N"]
  start: Int[np.ndarray, " P"]
  logits: Float[np.ndarray, "P N A"]
  horizon: int
