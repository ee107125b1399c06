"""Decision processes small enough to list everything that can happen."""

from collections.abc import Mapping
from typing import NamedTuple


class Way(NamedTuple):
  """One way in which an action may turn out."""

  chance: float
  reward: float
  state: str | None  # None: the episode is over.


# state -> action -> ways. The tokens of an action are its words, chosen one
# after the other. What the policy sees of the state "a@1" is "a".
Rules = Mapping[str, Mapping[str, tuple[Way, ...]]]


class Mdp(NamedTuple):
  """A process as data.

  Attributes:
    name: short, for tables.
    about: what it is there to show.
    starts: the state that each prompt starts in; prompts are equally likely.
    rules: what may be done in each state, and what comes of it. Logits are
      tabular: a row for each observation and each beginning of an action.
    groups: sizes to sample of each prompt.
  """

  name: str
  about: str
  starts: tuple[str, ...]
  rules: Rules
  groups: tuple[int, ...] = (2, 3)


def _sure(reward: float, state: str | None = None) -> tuple[Way, ...]:
  return (Way(1.0, reward, state),)


def _paid(chance: float) -> tuple[Way, ...]:
  return (Way(chance, 1.0, None), Way(1 - chance, 0.0, None))


STOP_OR_CONTINUE = Mdp(
  name="stop_or_continue",
  about="Every step pays 1. The one choice is whether there is a second step,"
  " so what it is worth stands in no reward of its own.",
  starts=("door",),
  rules={
    "door": {"stop": _sure(1.0), "go": _sure(1.0, "room")},
    "room": {"rest": _sure(1.0)},
  },
)

CHAIN = Mdp(
  name="chain",
  about="Three steps between two states, of which one or both are met again:"
  " the same state with less time left is worth less.",
  starts=("a@0",),
  rules={
    "a@0": {"stay": _sure(0.0, "a@1"), "move": _sure(0.3, "b@1")},
    "a@1": {"stay": _sure(0.0, "a@2"), "move": _sure(0.3, "b@2")},
    "b@1": {"stay": _sure(0.5, "b@2"), "move": _sure(0.0, "a@2")},
    "a@2": {"stay": _sure(0.0), "move": _sure(1.0)},
    "b@2": {"stay": _sure(0.5), "move": _sure(0.0)},
  },
)

TREE = Mdp(
  name="tree",
  about="Two steps with chance after each: the same action leads to different"
  " states, so that luck must not be taken for skill.",
  starts=("root",),
  rules={
    "root": {
      "left": (Way(0.7, 0.0, "rich"), Way(0.3, 0.0, "poor")),
      "right": (Way(0.2, 0.4, "rich"), Way(0.8, 0.4, "poor")),
    },
    "rich": {"left": _sure(1.0), "right": _paid(0.3)},
    "poor": {"left": _sure(0.0), "right": _sure(0.2)},
  },
)

TOKENS = Mdp(
  name="tokens",
  about="Steps of one to three tokens, right and wrong, then a second step or"
  " none: what is divided by a length depends on what was done.",
  starts=("question",),
  rules={
    "question": {
      "guess": _sure(0.2),
      "think right": _sure(1.0),
      "think on wrong": _sure(0.0),
      "ask": _sure(0.1, "hint"),
    },
    "hint": {"use": _sure(0.8), "doubt it": _sure(0.3)},
  },
)

DIFFICULTY = Mdp(
  name="difficulty",
  about="Two prompts on which the better action gains as much, but one is"
  " nearly always solved and the other seldom. Of 0 and 1 all groups of 2 or 3"
  " that differ have the same spread; those of 4 do not.",
  starts=("easy", "hard"),
  rules={
    "easy": {"good": _paid(0.95), "bad": _paid(0.65)},
    "hard": {"good": _paid(0.4), "bad": _paid(0.1)},
  },
  groups=(2, 3, 4),
)

STAKES = Mdp(
  name="stakes",
  about="Two prompts of which one pays a tenth of the other: what is divided by"
  " its spread learns as much from both.",
  starts=("much", "little"),
  rules={
    "much": {"good": _sure(1.0), "bad": _sure(0.0)},
    "little": {"good": _sure(0.1), "bad": _sure(0.0)},
  },
)

ALL = (STOP_OR_CONTINUE, CHAIN, TREE, TOKENS, DIFFICULTY, STAKES)
