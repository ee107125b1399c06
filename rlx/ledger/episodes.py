"""Everything that can happen in a process, as padded arrays."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rlx.ledger import mdps

# The widths that every process is padded to, so that a recipe is compiled once.
TURNS, LENGTH = 3, 3
DECISIONS, CHOICES = 6, 3


class Step(NamedTuple):
  """One step of an episode: what was seen, done, paid and met."""

  state: str
  action: str
  reward: float
  next_state: str | None


class Episode(NamedTuple):
  """One thing that can happen, but for what the policy makes of it."""

  prompt: int
  steps: tuple[Step, ...]
  chance: float  # Of the process alone, given the actions.


@dataclasses.dataclass(frozen=True)
class Listed:
  """All N episodes of a process.

  Attributes:
    mdp: the process.
    episodes: in a fixed order.
    decisions: names of the rows of the logits.
    choices: [D], how many there are in each.
    chance, prompt, outcome: [N].
    decision, choice: [N L], row of the logits and entry of each token.
    turn: [N L], whose token it is; -1 for padding.
    reward: [N T].
  """

  mdp: mdps.Mdp
  episodes: tuple[Episode, ...]
  decisions: tuple[str, ...]
  choices: np.ndarray
  chance: np.ndarray
  prompt: np.ndarray
  outcome: np.ndarray
  decision: np.ndarray
  choice: np.ndarray
  turn: np.ndarray
  reward: np.ndarray


def observed(state: str) -> str:
  """What the policy sees of a state."""
  return state.partition("@")[0]


def listed(mdp: mdps.Mdp) -> Listed:
  """Returns all that can happen.

  Raises:
    ValueError: the process is larger than the padded widths.
  """
  episodes = tuple(
    Episode(prompt, steps, chance)
    for prompt, start in enumerate(mdp.starts)
    for steps, chance in _walk(mdp.rules, start)
  )
  tables = _decisions(mdp)
  names = tuple(tables)
  size = (len(episodes), LENGTH)
  decision, choice = np.zeros(size, np.int32), np.zeros(size, np.int32)
  turn = np.full(size, -1, np.int32)
  reward = np.zeros((len(episodes), TURNS))
  for n, episode in enumerate(episodes):
    at = 0
    for t, step in enumerate(episode.steps):
      reward[n, t] = step.reward
      for name, word in _tokens(step.state, step.action):
        decision[n, at] = names.index(name)
        choice[n, at] = tables[name].index(word)
        turn[n, at] = t
        at += 1
  choices = np.ones(DECISIONS, np.int32)
  choices[: len(names)] = [len(words) for words in tables.values()]
  return Listed(
    mdp=mdp,
    episodes=episodes,
    decisions=names,
    choices=choices,
    chance=np.array([e.chance for e in episodes]),
    prompt=np.array([e.prompt for e in episodes]),
    outcome=reward.sum(1),
    decision=decision,
    choice=choice,
    turn=turn,
    reward=reward,
  )


def _walk(
  rules: mdps.Rules, state: str
) -> Iterator[tuple[tuple[Step, ...], float]]:
  """Every way to the end from a state, with its chance."""
  for action, ways in rules[state].items():
    for way in ways:
      step = Step(state, action, way.reward, way.state)
      if way.state is None:
        yield (step,), way.chance
        continue
      for rest, chance in _walk(rules, way.state):
        yield (step, *rest), way.chance * chance


def _tokens(state: str, action: str) -> Iterator[tuple[str, str]]:
  """(decision, token) of each token of an action."""
  words = action.split()
  for i, word in enumerate(words):
    yield " ".join([observed(state), *words[:i]]), word


def _decisions(mdp: mdps.Mdp) -> dict[str, list[str]]:
  """The tokens to choose from at each decision, in order of appearance."""
  tables: dict[str, list[str]] = {}
  for state, actions in mdp.rules.items():
    for action in actions:
      for name, word in _tokens(state, action):
        words = tables.setdefault(name, [])
        words += [word] * (word not in words)
  widest = max(len(words) for words in tables.values())
  if len(tables) > DECISIONS or widest > CHOICES:
    raise ValueError(
      f"{mdp.name} has {len(tables)} decisions of up to {widest} choices; "
      f"there is room for {DECISIONS} of {CHOICES}"
    )
  return tables
