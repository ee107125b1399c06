"""What an environment is: Gymnasium's five-tuple, in text.

An `Episode` is one live environment. A `Task` is a family of them, addressed by
an integer, split into what is trained on and what is held out; it is what an
experiment names. Both are plain protocols: nothing is to be inherited.
"""

from typing import Any, Protocol, runtime_checkable

Info = dict[str, Any]
# Keys of `info` that rlx reads:
#   "state_key": hashable; the canonical observation. Steps of one prompt that
#     acted on equal keys are compared by state-grouped methods such as GiGPO.
#     Leave out counters that make every state unique.
#   "success": bool, on the last step; else the outcome > 0 counts as success.
#   "parse_error": bool; the action could not be read.
#   "stop": why the episode is over, on a step that terminates or truncates, where
#     there is more to say: "tool_stopped", "parse_error", "max_tool_calls",
#     "max_turns" or "max_tokens". It is counted in the metric `stop/<reason>`.
#   "evidence": {name: float}; columns of the step table that recipes may read.
#     A task that fills some says which in an attribute `evidence`, a tuple.


@runtime_checkable
class Episode(Protocol):
  """One live environment, read and acted on as text.

  Its methods are called one after the other, but not always by the same thread,
  while those of other episodes run on other threads: what episodes share must be
  safe for that, see `RolloutConfig.environment_pool`.
  """

  def reset(self, seed: int) -> tuple[str, Info]:
    """Returns the first observation. The same seed gives the same episode."""
    ...

  def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
    """Returns observation, reward, terminated, truncated, info.

    An action that cannot be read is answered, not raised: the environment says
    so in the observation or leaves its state as it was, and sets
    `info["parse_error"]`.
    """
    ...


@runtime_checkable
class Restorable(Protocol):
  """What an episode has, beside, if it can be continued from the middle."""

  def snapshot(self) -> Any:
    """Returns the state it is in, which later steps do not change."""
    ...

  def restore(self, snapshot: Any, seed: int) -> None:
    """Puts it back there. What chance brings from then on is the seed's."""
    ...


@runtime_checkable
class Task(Protocol):
  """A family of episodes. Members of a group start from the same `index`."""

  @property
  def max_turns(self) -> int:
    """Actions an episode may take; then it is truncated."""
    ...

  def episode(self, index: int, split: str) -> Episode:
    """Returns a fresh episode: `index` of split "train" or "test"."""
    ...

  def num_test(self) -> int:
    """Returns how many held-out episodes there are."""
    ...

  def words(self) -> tuple[str, ...]:
    """Returns every word an observation or action is made of.

    Only asked of tasks that are played with a scratch tokeniser; others may
    return ().
    """
    ...


@runtime_checkable
class Demonstrated(Protocol):
  """What a task has, beside, from which a warm start can learn."""

  def demonstration(self, index: int, seed: int) -> list[tuple[str, str]]:
    """Returns (observation, action) pairs of an imperfect player."""
    ...


@runtime_checkable
class Listing(Protocol):
  """What an episode has, beside, if it can say what may be done now."""

  def actions(self) -> tuple[str, ...]:
    """Returns the actions that are possible; () where they are no list."""
    ...


def opened(task: Task, split: str, index: int) -> Episode:
  """Returns an episode of a task; for other processes, so nothing heavy here."""
  return task.episode(index, split)
