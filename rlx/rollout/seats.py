"""Where one environment is called: what is asked of it, and what it answers.

A seat holds one episode. Its methods run on whatever thread calls them, or in
another process, see `processes`; they touch nothing but the episode, and what
they return is a value. So a call that is given up can end whenever it likes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rlx.envs import protocol

Make = Callable[[], protocol.Episode]


class Unsuitable(ValueError):
  """The settings ask for what these episodes can never do."""


class Shown(NamedTuple):
  """What an environment answered.

  Attributes:
    text: what the policy is to be shown.
    reward: as the environment gave it.
    snapshot: of its state now, if it was asked for and the episode goes on.
    failed: what `snapshot()` raised. It is the episode's end only where
      somebody needs the snapshot.
  """

  text: str
  reward: Any
  terminated: bool
  truncated: bool
  info: protocol.Info
  snapshot: Any = None
  failed: Exception | None = None


@runtime_checkable
class Seat(Protocol):
  """One episode, wherever it lives.

  Attributes:
    lane: calls of one lane are made one after the other; None for no such.
    allowance: seconds that the next call may take beyond its deadline, as what
      answers it has yet to start.
  """

  @property
  def lane(self) -> int | None: ...

  @property
  def allowance(self) -> float: ...

  def begin(self, make: Make, seed: int, keep: bool) -> Shown:
    """Makes an episode and resets it; with a snapshot if `keep`."""
    ...

  def resume(self, make: Make, snapshot: Any, seed: int) -> None:
    """Makes an episode and restores it."""
    ...

  def step(self, action: str, keep: bool) -> Shown:
    """Acts in it; with a snapshot if `keep` and it goes on."""
    ...

  def abandon(self) -> None:
    """Gives up a call that has not returned, before others of its lane begin."""
    ...


class Here:
  """A seat in this process."""

  lane: int | None = None
  allowance: float = 0.0

  def __init__(self):
    self._episode: Any = None

  def begin(self, make: Make, seed: int, keep: bool) -> Shown:
    episode = self._episode = make()
    if keep and not isinstance(episode, protocol.Restorable):
      raise Unsuitable(
        f"episodes of {type(episode).__name__} cannot be continued from the "
        "middle, which this recipe asks for: they need snapshot() and restore()"
      )
    text, info = self._episode.reset(seed=seed)
    return self._kept(Shown(_text(text), 0.0, False, False, info), keep)

  def resume(self, make: Make, snapshot: Any, seed: int) -> None:
    self._episode = make()
    self._episode.restore(snapshot, seed)

  def step(self, action: str, keep: bool) -> Shown:
    text, reward, terminated, truncated, info = self._episode.step(action)
    over = bool(terminated), bool(truncated)
    return self._kept(
      Shown(_text(text), reward, *over, info), keep and not any(over)
    )

  def abandon(self) -> None:
    """Does nothing: a thread cannot be ended, and its episode is nobody's."""

  def _kept(self, shown: Shown, keep: bool) -> Shown:
    if not keep:
      return shown
    try:
      return shown._replace(snapshot=self._episode.snapshot())
    except Exception as error:  # Whatever an environment raises is its own.
      return shown._replace(failed=error)


def _text(x: Any) -> str:
  if not isinstance(x, str):
    raise TypeError(f"an observation is a {type(x).__name__}: it must be text")
  return x
