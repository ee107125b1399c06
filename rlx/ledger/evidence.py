"""What a recipe is told about a small process: exact, and as good as can be.

A recipe whose evidence comes from a verifier, a second learner or extra samples
is given what those would say if they made no error, so that what the ledger
finds is the recipe's own bias. `TOLD` says what that is.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rlx.ledger import episodes, mdps, truth

Column = Callable[[truth.Truth], np.ndarray]


class Told(NamedTuple):
  """An evidence column.

  Attributes:
    column: its numbers [N T].
    words: what they are.
    total: the numbers are of what was done so far: every row of a chain has the
      last, and a row of a tree its own.
  """

  column: Column
  words: str
  total: bool = False


def gain(known: truth.Truth) -> np.ndarray:
  """How much a step changed the expected outcome."""
  return known.after - known.before


def progress(known: truth.Truth) -> np.ndarray:
  """The outcome taken apart into steps: gains, the first from nothing."""
  first = np.arange(episodes.TURNS) == 0
  live = known.listed.turn.max(1, keepdims=True) >= np.arange(episodes.TURNS)
  return np.where(live, gain(known) + first * known.before, 0.0)


def optimal(known: truth.Truth) -> np.ndarray:
  """1 where no other action of the state could have earned more."""
  rules = known.listed.mdp.rules
  out = np.zeros_like(known.before)
  for n, episode in enumerate(known.listed.episodes):
    for t, step in enumerate(episode.steps):
      best = max(_worth(rules, step.state, a) for a in rules[step.state])
      out[n, t] = _worth(rules, step.state, step.action) > best - 1e-9
  return out


def _worth(rules: mdps.Rules, state: str, action: str) -> float:
  """Expected rest of the rewards if all that follows is done well."""
  best = lambda s: max(_worth(rules, s, a) for a in rules[s])
  return sum(
    way.chance * (way.reward + (0.0 if way.state is None else best(way.state)))
    for way in rules[state][action]
  )


def arbitrary(known: truth.Truth) -> np.ndarray:
  """A fixed number for each state and action that means nothing."""
  out = np.zeros_like(known.before)
  for n, episode in enumerate(known.listed.episodes):
    for t, step in enumerate(episode.steps):
      words = f"{episodes.observed(step.state)} {step.action}"
      out[n, t] = 0.3 * np.sin(sum(map(ord, words)))
  return out


# What one nat of divergence costs the policy that implicit rewards are of.
BETA = 0.5


def implicit(known: truth.Truth) -> np.ndarray:
  """beta log(best / policy), of the policy that is best for R - beta KL.

      Q(s, a) = E[r + V(s')],  V(s) = beta log sum of pi(a | s) exp(Q / beta)

  and the implicit reward is Q - V, what preferences between trajectories teach
  in the limit where nothing is left to chance.
  """
  rules = known.listed.mdp.rules
  probability: dict[str, dict[str, float]] = {}
  own = np.exp(log_prob(known))
  for n, episode in enumerate(known.listed.episodes):
    for t, step in enumerate(episode.steps):
      probability.setdefault(step.state, {})[step.action] = own[n, t]

  def worth(state: str, action: str) -> float:
    return sum(
      way.chance
      * (way.reward + (0.0 if way.state is None else soft(way.state)))
      for way in rules[state][action]
    )

  def soft(state: str) -> float:
    return BETA * np.log(
      sum(
        p * np.exp(worth(state, action) / BETA)
        for action, p in probability[state].items()
      )
    )

  out = np.zeros_like(known.before)
  for n, episode in enumerate(known.listed.episodes):
    for t, step in enumerate(episode.steps):
      out[n, t] = worth(step.state, step.action) - soft(step.state)
  return out


def constant(value: float) -> Column:
  """The same number everywhere."""
  return lambda known: np.full_like(known.before, value)


def outcome(share: float = 1.0) -> Column:
  """A share of the rewards so far."""
  return lambda known: share * np.cumsum(known.listed.reward, 1)


def length(known: truth.Truth) -> np.ndarray:
  """Tokens so far."""
  return np.cumsum(tokens(known), 1)


def tokens(known: truth.Truth) -> np.ndarray:
  """Tokens of the step."""
  turns = np.arange(episodes.TURNS)[:, None]
  return (known.listed.turn[:, None] == turns).sum(-1).astype(float)


def log_prob(known: truth.Truth) -> np.ndarray:
  """Log-probability of the step."""
  turns = np.arange(episodes.TURNS)[:, None]
  own = known.listed.turn[:, None] == turns
  return (own * known.log_probs[:, None]).sum(-1)


def consistency(known: truth.Truth) -> np.ndarray:
  """How probable it is that another episode of the prompt ends as well."""
  one = known.listed
  same = np.abs(one.outcome[:, None] - one.outcome) < 1e-9
  same &= one.prompt[:, None] == one.prompt
  return np.repeat((same @ known.probability)[:, None], episodes.TURNS, 1)


TOLD = {
  "value_before": Told(lambda k: k.before, "exact, of the current policy"),
  "value_after": Told(lambda k: k.after, "exact, of the current policy"),
  "process": Told(optimal, "1 if the action is optimal"),
  "matched": Told(optimal, "1 if the action is optimal: the expert's"),
  "node": Told(optimal, "1 if the action is optimal"),
  "tool": Told(optimal, "1 if the action is optimal"),
  "grounded": Told(constant(1.0), "1: every action executes"),
  "information_gain": Told(gain, "exact change of the expected outcome"),
  "sub_answer_gain": Told(gain, "exact change of the expected outcome"),
  "marginal": Told(gain, "exact change of the expected outcome"),
  "redundancy": Told(constant(0.0), "0"),
  "progress": Told(progress, "the outcome split into exact changes"),
  "implicit_reward": Told(
    implicit, f"{BETA} log(best / policy), exact, best with {BETA} KL"
  ),
  "meaningless": Told(arbitrary, "a fixed number per state and action"),
  "exploration": Told(constant(0.3), "0.3 everywhere"),
  "bootstrap_value": Told(constant(0.0), "0: every episode ends"),
  "consistency": Told(consistency, "how probable its outcome is"),
  "length": Told(length, "tokens of the trajectory", total=True),
  "tokens": Told(tokens, "tokens of the step"),
  "segment_log_prob": Told(log_prob, "exact, of the current policy"),
}

# Families of columns: what stands before the slash, and the columns after it.
FAMILIES = {
  "objective": Told(outcome(0.5), "half of the outcome", total=True),
  "weight": Told(constant(0.5), "0.5"),
  "reference_reward": Told(constant(0.5), "0.5"),
}


def told(name: str) -> Told:
  """What a recipe is told in the column called `name`.

  Raises:
    LookupError: the ledger knows of no such evidence.
  """
  family = name.partition("/")[0]
  if name in TOLD:
    return TOLD[name]
  if family in FAMILIES and family != name:
    return FAMILIES[family]
  raise LookupError(f"unknown evidence: {name}")
