"""Any data set of questions, with reward functions and tools over turns."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlx import ranges, spec
from rlx.data import rows
from rlx.rewards import calls, combine
from rlx.tools import episode as episodes
from rlx.tools import hermes
from rlx.tools import tool as tools


@dataclasses.dataclass(frozen=True)
class ToolTask:
  """Questions that a policy answers after as many calls of tools as it likes.

  A turn with calls (see `hermes`) is answered with what they came to; what
  cannot be read, and calls that fail, with an error. A turn without a call is
  the answer, and ends the episode. Rewards are TRL's functions. They are given
  the answer as completion, or "" without one; where the row's prompt is a list
  of messages, all messages after it, calls and tools' answers included. Beside
  the row's columns they may name `truncated`, `transcript` (those messages),
  `tool_calls`, `tool_results`, `num_tool_calls`, `num_tool_errors` and
  `environments`. A column `actions`, a list of turns, is a demonstration.
  """

  data: spec.Spec
  """A spec whose build() gives {"train": source, "test": source} of rows."""
  tools: tuple[Callable[..., Any] | spec.Spec, ...] = ()
  """Functions with types and a docstring, or specs that build one."""
  rewards: tuple[Callable[..., Any] | spec.Spec, ...] = ()
  """Reward functions, or specs that build one; paid at the end."""
  reward_weights: tuple[float, ...] | None = None
  """One each; 1 unless given."""
  turn_rewards: tuple[Callable[..., Any] | spec.Spec, ...] = ()
  """Reward functions of each turn, paid after it; the turn is the completion."""
  environment: Callable[[], Any] | None = None
  """A class in TRL's style: reset(**row) may return text for the end of the
  prompt, get_reward() may pay, and all other public methods are tools."""
  turns: int = 8
  """Turns an episode may take; then it is truncated."""
  max_tool_calls: int = 16
  """Calls it may make; with more it is truncated."""
  max_parse_errors: int = 0
  """Turns that cannot be read, with which it ends; 0 for any number."""
  max_response: int = 4000
  """Characters of a tool's answer; the rest is left out."""
  respond: Callable[..., str] = hermes.respond
  """Writes what a policy is shown of its calls' results."""
  describe: bool = True
  """Begin the prompt with the tools and how they are called."""
  success_above: float = 0.5
  """An episode succeeds where the first function's reward is above this."""
  seed: int = 0
  """Of the order of the training rows, another in each epoch."""
  vocabulary: tuple[str, ...] = ()
  """Words of the scratch tokeniser; () for one that reads bytes."""

  def __post_init__(self):
    fields = lambda *names: {f"task.{x}": getattr(self, x) for x in names}
    ranges.at_least(1, **fields("turns", "max_tool_calls", "max_response"))
    ranges.at_least(0, **fields("max_parse_errors"))
    num = len(self.rewards)
    if self.reward_weights is not None and len(self.reward_weights) != num:
      raise ValueError(
        f"task.rewards has {num} functions and task.reward_weights is "
        f"{self.reward_weights}: one weight each"
      )
    own = hasattr(self.environment, "get_reward")
    if not (self.rewards or own):
      raise ValueError(
        "task.rewards has no function, and task.environment no get_reward(): "
        "nothing would be paid"
      )
    if not (self.tools or self.environment):
      raise ValueError("task.tools and task.environment: there must be a tool")

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return len(_sources(self)["test"])

  def words(self) -> tuple[str, ...]:
    return self.vocabulary

  def row(self, index: int, split: str) -> Mapping[str, Any]:
    """Returns a row; those of "train" come in an order of each epoch."""
    source = _sources(self)[split]
    if split == "train":
      epoch, index = divmod(index, len(source))
      index = int(_order(len(source), self.seed, epoch)[index])
    return source[index]

  def episode(self, index: int, split: str) -> episodes.ToolEpisode:
    row, known = self.row(index, split), _tools(self)
    shown = [text_of(row["prompt"], index)]
    if self.describe:
      own = (
        []
        if self.environment is None
        else tools.of_environment(self.environment())
      )
      shown.insert(0, hermes.describe([*known.values(), *own]))
    return episodes.ToolEpisode(
      self._rules(), row, "\n\n".join(shown), known, self.environment
    )

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs, of the row's column `actions`.

    Raises:
      ValueError: the rows have no such column.
    """
    rows.require(self.row(index, "train"), ("actions",), index)
    live, pairs = self.episode(index, "train"), []
    shown, _ = live.reset(seed)
    for action in self.row(index, "train")["actions"]:
      pairs.append((shown, action))
      shown, _, terminated, truncated, _ = live.step(action)
      if terminated or truncated:
        break
    return pairs

  def _rules(self) -> episodes.Rules:
    return episodes.Rules(
      rewards=calls.made(self.rewards),
      weights=self.reward_weights,
      turn_rewards=calls.made(self.turn_rewards),
      success_above=self.success_above,
      turns=self.turns,
      max_tool_calls=self.max_tool_calls,
      max_parse_errors=self.max_parse_errors,
      max_response=self.max_response,
      respond=self.respond,
    )


def text_of(prompt: Any, index: int) -> str:
  """A prompt as one user's message: system messages, then the question.

  Raises:
    ValueError: there are other messages.
  """
  if isinstance(prompt, str):
    return prompt
  messages = rows.messages_of(prompt, "prompt", index)
  roles = [message["role"] for message in messages]
  if roles not in (["user"], ["system", "user"]):
    raise ValueError(
      f"row {index}: a question for tools is one user's message, after a system "
      f"message or none; its prompt has the roles {roles}"
    )
  return "\n\n".join(message["content"] for message in messages)


def check(
  functions: tuple[Callable[..., Any], ...], columns: list[str]
) -> None:
  """Refuses reward functions that ask for what tool episodes do not have.

  Raises:
    ValueError: a column is missing or has a name that is taken, or a function
      needs `completion_ids`.
  """
  taken = sorted(set(columns) & set(episodes.COLUMNS))
  if taken:
    raise ValueError(f"the data set may not have columns named {taken}")
  for function in functions:
    if "completion_ids" in calls.required(function):
      raise ValueError(
        f"reward function {calls.name_of(function)!r} needs completion_ids,"
        " which an episode of several turns has not; it may name `transcript`"
      )
  combine.check(functions, [*columns, *episodes.COLUMNS])


@functools.lru_cache(maxsize=16)
def _sources(task: ToolTask) -> dict[str, rows.Source]:
  """The data of a task, checked once."""
  found = task.data.build()
  for split in ("train", "test"):
    if split not in found:
      raise ValueError(
        f"task.data has no split {split!r}; it has {sorted(found)}"
      )
    rows.require_rows(found[split])
    rows.require(found[split][0], ("prompt",), 0)
    columns = [name for name in found[split][0] if name != "prompt"]
    check(calls.made((*task.rewards, *task.turn_rewards)), columns)
  return found


@functools.lru_cache(maxsize=16)
def _tools(task: ToolTask) -> dict[str, tools.Tool]:
  return tools.named([tools.make(source) for source in task.tools])


@functools.lru_cache(maxsize=4)
def _order(num: int, seed: int, epoch: int) -> np.ndarray:
  return np.random.default_rng([seed, epoch]).permutation(num)
