"""Household tasks in ALFWorld's world, generated without a download.

    You are in the middle of a room. Looking quickly around you, you see ...
    Your task is to: put a clean mug in cabinet.
                                             go to countertop 1

The rules and the wording are those of the alfworld package (its `alfred.pddl`
and `alfred.twl2`), played by TextWorld's PDDL engine with its planner; the
houses and goals are drawn here, so ALFRED's own games are not needed, and not
what is played. Needs `pip install 'rlx[alfworld]'`. The engine derives its texts anew
at each command and is slow, and commands of several episodes wait for one another:
give it processes and long deadlines, as
configs/alfworld_qwen3_0p6b_gigpo.py does.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import itertools
import pathlib
import random
import threading
from typing import Any, Literal

from rlx.envs import alfworld_problem as problems
from rlx.envs import extras, textworld, textworld_episode

_TEST_SHARE = 8  # One problem in so many is held out.
# The engine's parsers keep what they read in variables of their modules.
_LOCK = threading.RLock()
_UNNAMED = "UNKNOWN GOAL"  # What alfworld's wording leaves open.


@dataclasses.dataclass(frozen=True)
class AlfWorld:
  """Do a household task by commands, one a turn; success is paid 1.

  Evidence: see `textworld_episode.GameEpisode`; what is left to be done is the
  planner's plan. `games` are files of ALFWorld itself (game.tw-pddl), if you
  have them; they have their own goals.
  """

  kinds: tuple[Literal["pick", "clean", "heat", "cool", "look", "two"], ...] = (
    problems.KINDS
  )
  """What is to be done."""
  things: int = 6
  """Things in the house, besides the lamp."""
  turns: int = 30
  """Commands an episode may take."""
  held_out: int = 64
  """Number of test problems."""
  seed: int = 0
  """Of the draws."""
  show_commands: bool = True
  """Whether the observation lists what can be done."""
  games: tuple[str, ...] = ()
  """Files to play instead, as ALFWorld's game.tw-pddl."""
  skill: float = 0.8
  """Share of the demonstrations' commands that lead on; the rest are random."""

  evidence = textworld_episode.EVIDENCE

  def __post_init__(self):
    if not self.kinds or not {*self.kinds} <= {*problems.KINDS}:
      raise ValueError(
        f"kinds={self.kinds}: must be some of {', '.join(problems.KINDS)}"
      )
    if self.things < 2 or self.turns < 1 or self.held_out < 1:
      raise ValueError(
        f"things={self.things}, turns={self.turns}, held_out={self.held_out}: "
        "two things or more, and at least one turn and one test problem"
      )
    if not 0 <= self.skill <= 1:
      raise ValueError(f"skill={self.skill}: must be in [0, 1]")

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return len(self.games) or self.held_out

  def words(self) -> tuple[str, ...]:
    return ()

  def problem(self, index: int, split: str) -> problems.Problem:
    """Returns problem `index`; those of "test" are held out by their hash."""
    for attempt in itertools.count():
      rng = random.Random(f"house {self.seed} {split} {index} {attempt}")
      found = problems.draw(rng, rng.choice(self.kinds), self.things)
      text = found.pddl.encode()
      number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
      if (number % _TEST_SHARE == 0) == (split == "test"):
        return found
    raise AssertionError  # Counting never ends.

  def episode(self, index: int, split: str) -> textworld_episode.GameEpisode:
    return textworld_episode.GameEpisode(
      lambda: self._start(index, split),
      turns=self.turns,
      show_commands=self.show_commands,
      lock=_LOCK,
    )

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of who does something else at times."""
    episode = self.episode(index, "train")
    return textworld.demonstrate(episode, self.skill, seed, index)

  def _start(self, index: int, split: str) -> Any:
    engine = _engine()
    if self.games:
      engine.load(self.games[index % len(self.games)])
      misc = extras.load("alfworld.agents.utils.misc", "alfworld")
      names = misc.Demangler(game_infos=engine._entity_infos)
      for entity in engine._entity_infos.values():
        entity.name = names.demangle_alfred_name(entity.id)
      return engine
    domain, grammar = _rules()
    problem = self.problem(index, split)
    engine.load(
      {
        "pddl_domain": domain,
        "grammar": grammar.replace(_UNNAMED, problem.goal),
        "pddl_problem": problem.pddl,
      }
    )
    for entity in engine._entity_infos.values():
      entity.name = entity.id.replace("_", " ")
    return engine


def _engine() -> Any:
  """Returns TextWorld's engine for PDDL."""
  world = extras.load("textworld", "alfworld")
  pddl = extras.load("textworld.envs.pddl", "alfworld")
  try:
    return pddl.PddlEnv(textworld.infos(world))
  except ImportError:
    # TextWorld alone, without the planner.
    message = extras.missing("fast_downward", "alfworld")
    raise ValueError(message) from None


@functools.cache
def _rules() -> tuple[str, str]:
  """Returns the rules and the wording that come with alfworld."""
  # Importing it would make a directory for its downloads.
  found = importlib.util.find_spec("alfworld")
  if found is None or found.origin is None:
    raise ValueError(extras.missing("alfworld", "alfworld"))
  data = pathlib.Path(found.origin).parent / "data"
  return (data / "alfred.pddl").read_text(), (data / "alfred.twl2").read_text()
