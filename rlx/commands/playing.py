"""Episodes of any task, and players that need no model."""

import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlx import families, prompts, spec
from rlx.commands import asking
from rlx.envs import extras, gymnasium_task, protocol
from rlx.envs.device import protocol as device
from rlx.rollout.plans import hinted, patched


class Turn(NamedTuple):
  """What was seen and done, and what came of it."""

  seen: str
  done: str
  reward: float
  evidence: Mapping[str, float]
  parse_error: bool


class Played(NamedTuple):
  """An episode that is over, or was left.

  Attributes:
    turns: in order.
    last: what was said at the end.
    success: None where nothing says so yet.
    stop: "completed", "truncated", "max_turns" or "left".
  """

  turns: list[Turn]
  last: str
  success: bool | None
  stop: str

  @property
  def reward(self) -> float:
    return sum((turn.reward for turn in self.turns), 0.0)

  def outcome(self) -> str:
    """Returns the end in one line."""
    word = {None: "no outcome", True: "success", False: "failure"}[self.success]
    num = len(self.turns)
    turns = f"{num} turn" + "s" * (num != 1)
    return f"{word} ({self.stop}) after {turns}, reward {paid(self.reward)}"


class PromptEpisode:
  """A row of a `PromptTask` as an episode of one turn."""

  def __init__(self, task: prompts.PromptTask, row: Mapping[str, Any]):
    self._score, self.row = prompts.make_score(task), row

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The row says everything.
    return text_of(self.row["prompt"]), {}

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    ids = [[*action.encode(errors="replace")]]
    found = self._score([self.row], [action], ids, np.zeros(1, bool))
    evidence = {k: float(v[0]) for k, v in found.evidence.items()}
    info = {"success": bool(found.success[0]), "evidence": evidence}
    return "", float(found.rewards[0]), True, False, info

  def snapshot(self) -> None:
    return None

  def restore(self, snapshot: None, seed: int) -> None:
    """Does nothing: until it is answered it stands where it began."""


def text_of(prompt: Any) -> str:
  """Returns a prompt to be read: text, or messages with their roles."""
  if isinstance(prompt, str):
    return prompt
  return "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def find(name: str) -> families.Family:
  """Returns a family by name, or the task of an experiment.

  Raises:
    ValueError: there is neither.
  """
  from rlx import config

  known = {family.name: family for family in families.ALL}
  family = known.get(name.replace("_", "-"))
  if family is None and (name.endswith(".py") or name in config.names()):
    found = config.load(name)
    return families.Family(name, found.task, f"the task of {name}")
  if family is None:
    near = spec.nearest_text(name, known)
    raise ValueError(
      f"no environment {name!r}; {near} (`rlx envs` lists all {len(known)}; an "
      "experiment's name or .py file does as well)"
    )
  return family


def chosen(
  family: families.Family, args: Sequence[str], *, prog: str, lists: str
) -> families.Family:
  """Returns the family with fields of its task changed, as `override` does.

  Another Gymnasium id leaves what was said of the first one behind.
  """
  from rlx import command_line

  was = family.task
  task = command_line.override(was, args, {}, prog=prog, lists=lists)
  if isinstance(task, gymnasium_task.GymnasiumTask) and task.id != was.id:
    bare, kept = gymnasium_task.GymnasiumTask(), {}
    for name in ("actions", "observations", "success_above"):
      if getattr(task, name) == getattr(was, name):
        kept[name] = getattr(bare, name)
    task = dataclasses.replace(task, **kept)
    family = family._replace(line=f"Gymnasium's {task.id}")
  return family._replace(task=task)


def need(family: families.Family) -> None:
  """Refuses a family whose packages are not installed.

  Raises:
    ValueError: naming the first that is not, and how it is installed.
  """
  for package in family.packages:
    if not extras.installed(package):
      message = extras.missing(package, family.extra)
      raise ValueError(f"{family.name}: {message}")


def episode(task: Any, index: int, split: str) -> Any:
  """Returns episode `index` of a split, of an environment or of prompts.

  Raises:
    ValueError: the split, or a split's row, is not there; or this machine
      cannot make one, as where code cannot be shut in.
  """
  if split not in ("train", "test"):
    raise ValueError(f"--split={split}: must be train or test")
  if index < 0:
    raise ValueError(f"--index={index}: must be 0 or more")
  with asking.asked():
    return _episode(task, index, split)


def _episode(task: Any, index: int, split: str) -> Any:
  if not isinstance(task, prompts.PromptTask):
    try:
      _check_held_out(index, split, task.num_test)
      return task.episode(index, split)
    except RuntimeError as error:
      raise ValueError(str(error)) from error
  source = task.data.build()[split]
  _check_held_out(index, split, lambda: len(source))
  return PromptEpisode(task, source[index % len(source)])


def _check_held_out(index: int, split: str, count: Callable[[], int]) -> None:
  if split == "test" and index >= (num := count()):
    raise ValueError(f"index {index}: there are {num} held-out episodes")


def max_turns(task: Any) -> int:
  """Returns how many turns an episode may take."""
  return 1 if isinstance(task, prompts.PromptTask) else task.max_turns


def actions(task: Any, live: Any) -> tuple[str, ...]:
  """Returns what can be done now, or () where that is no list."""
  if isinstance(live, protocol.Listing) and (known := live.actions()):
    return known
  return task.on_device().actions if isinstance(task, device.OnDevice) else ()


CHANCE, DEMONSTRATION = "chance", "a demonstration"

# A player: `(turns so far, what is seen) -> action`, or None for nothing to do.
Player = Callable[[int, str], str | None]


def player(
  task: Any, live: Any, index: int, split: str, seed: int
) -> tuple[str, Player]:
  """Returns the best player that there is without a model, and its name."""
  if isinstance(live, patched.Expert):
    return "its expert", lambda turn, seen: live.expert_action()
  if isinstance(live, PromptEpisode):
    columns = (live.row.get(x) for x in ("completion", "answer"))
    answer = next((str(x) for x in columns if x is not None), None)
    return "the row's own answer", lambda turn, seen: answer
  if pairs := _demonstration(task, index, split, seed):
    said = lambda turn, _: pairs[turn][1] if turn < len(pairs) else None
    return DEMONSTRATION, said
  rng = random.Random(seed)

  def anything(turn: int, seen: str) -> str | None:
    del turn, seen
    known = actions(task, live)
    return rng.choice(known) if known else None

  return CHANCE, anything


def hint(
  task: Any, live: Any, index: int, split: str, seed: int, done: Sequence[str]
) -> str | None:
  """Returns what helps after what was done, where somebody knows it.

  A demonstration helps while what was done is its beginning; "" where it does
  not any more.
  """
  if isinstance(live, hinted.Hinting):
    return live.hint()
  who, best = player(task, live, index, split, seed)
  if who == CHANCE:
    return None
  if who != DEMONSTRATION:
    return best(len(done), "")
  so_far = [best(turn, "") for turn in range(len(done) + 1)]
  same = [x.strip() for x in done] == [(x or "").strip() for x in so_far[:-1]]
  return (so_far[-1] if same else None) or ""


def _demonstration(
  task: Any, index: int, split: str, seed: int
) -> list[tuple[str, str]]:
  """Returns a demonstration, or nothing where there is none."""
  if split != "train" or not isinstance(task, protocol.Demonstrated):
    return []
  try:
    return task.demonstration(index, seed)
  except ValueError:  # Its data has none.
    return []


def play(task: Any, live: Any, who: Player, seed: int) -> Played:
  """Returns the episode as a player plays it to its end."""
  with asking.asked():
    return _play(task, live, who, seed)


def _play(task: Any, live: Any, who: Player, seed: int) -> Played:
  seen, _ = live.reset(seed)
  turns: list[Turn] = []
  success, stop = None, "left"
  while (action := who(len(turns), seen)) is not None:
    seen_next, reward, terminated, truncated, info = live.step(action)
    turns.append(turn_of(seen, action, reward, info))
    seen, success = seen_next, info.get("success", success)
    stop = ended(terminated, truncated, len(turns) >= max_turns(task))
    if stop:
      break
    stop = "left"
  return finished(turns, seen, success, stop)


def turn_of(seen: str, action: str, reward: float, info: protocol.Info) -> Turn:
  """Returns a turn."""
  bad = bool(info.get("parse_error", False))
  return Turn(seen, action, float(reward), info.get("evidence", {}), bad)


def paid(reward: float, among: Iterable[float] = ()) -> str:
  """Returns a reward to be read: with three digits where two do not add up.

  Args:
    among: other rewards, which need digits as well.
  """
  exact = all(abs(x - round(x, 2)) < 1e-6 for x in (reward, *among))
  return f"{reward:+.2f}" if exact else f"{reward:+.3f}"


def ended(terminated: bool, truncated: bool, over: bool) -> str:
  """Returns why an episode is over, or "" where it is not."""
  if terminated:
    return "completed"
  return "truncated" if truncated else "max_turns" if over else ""


def finished(
  turns: list[Turn], last: str, success: bool | None, stop: str
) -> Played:
  """Returns the episode; what says nothing succeeded if it was paid."""
  if stop == "left":
    success = None
  elif success is None:
    success = sum(turn.reward for turn in turns) > 0
  return Played(turns, last, success, stop)
