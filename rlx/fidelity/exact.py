"""Exact values, advantages and policy gradient, by backward induction."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rlx.fidelity import world as world_types


class Exact(NamedTuple):
  """What is true of a set of worlds under their policies, in float64.

  `H` counts turns left: index h is what holds with h turns to go.

  Attributes:
    policy: probability of each action.
    values: expected outcome from a state; 0 in terminal ones.
    actions: the same after an action.
    advantages: `actions` less `values`.
    steps: expected number of turns from a state to the end.
    gradient: of each prompt's expected outcome, by the logits.
  """

  policy: Float[np.ndarray, "P N A"]
  values: Float[np.ndarray, "P H N"]
  actions: Float[np.ndarray, "P H N A"]
  advantages: Float[np.ndarray, "P H N A"]
  steps: Float[np.ndarray, "P H N"]
  gradient: Float[np.ndarray, "P N A"]


def solve(world: world_types.Worlds) -> Exact:
  """Everything by dynamic programming over the turns left.

      Q_h(s, a) = sum_s' P(s' | s, a) (gain(s') + V_{h-1}(s'))
      V_h(s) = sum_a pi(a | s) Q_h(s, a),  V_0 = 0,  V_h = 0 where it has ended
      A_h = Q_h - V_h
      dJ / dlogit(s, a) = sum_t d_t(s) pi(a | s) A_{H-t}(s, a)

  with d_t(s) the probability of being in s, not ended, at turn t. The last line
  is the policy-gradient theorem for a softmax: as A averages to 0 under pi, the
  part of the softmax's derivative that is shared by all actions drops out.
  """
  policy = softmax(world.logits)
  goes_on = ~world.terminal
  shape = (*world.terminal.shape, world.horizon + 1)
  values, steps = np.zeros(shape), np.zeros(shape)
  actions = np.zeros((*world.logits.shape, world.horizon + 1))
  expected = lambda x: np.einsum("psan,pn->psa", world.transition, x)
  averaged = lambda x: np.einsum("psa,psa->ps", policy, x) * goes_on
  for h in range(1, world.horizon + 1):
    actions[..., h] = expected(world.gain + values[..., h - 1])
    actions[..., h] *= goes_on[..., None]
    values[..., h] = averaged(actions[..., h])
    steps[..., h] = averaged(1.0 + expected(steps[..., h - 1]))
  advantages = actions - values[:, :, None]
  at = lambda x: np.moveaxis(x, -1, 1)
  found = Exact(
    policy=policy,
    values=at(values),
    actions=at(actions),
    advantages=at(advantages),
    steps=at(steps),
    gradient=np.zeros_like(policy),
  )
  return found._replace(gradient=_gradient(world, found))


def _gradient(world: world_types.Worlds, found: Exact) -> np.ndarray:
  """Advantages weighted by how often they are met."""
  gradient = np.zeros_like(found.policy)
  here = np.zeros(world.terminal.shape)
  here[np.arange(len(here)), world.start] = 1.0
  for turn in range(world.horizon):
    met = here[..., None] * found.policy
    gradient += met * found.advantages[:, world.horizon - turn]
    here = np.einsum("psa,psan->pn", met, world.transition) * ~world.terminal
  return gradient


def softmax(logits: np.ndarray) -> np.ndarray:
  """Over the last axis."""
  e = np.exp(logits - logits.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)
