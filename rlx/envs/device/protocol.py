"""What an environment is on the device: pure functions on arrays of one episode.

A `Game` speaks in small numbers: what it shows is a row of pieces of text, what
it is told is the number of one of its actions. `language` says them in tokens.
The functions run both under `jax.numpy`, mapped over the rows of a batch and
inside the program that samples, and under NumPy, one episode at a time: the
module is their argument `xp`. So they keep to functions both have, and write no
element in place.

Chance is drawn before an episode begins: `begin` puts what it brings into the
state, as a table with an entry for each turn.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol, runtime_checkable

State = Any  # A pytree of arrays of fixed shapes and dtypes.
UNREADABLE = -1  # The action of a text that is none.
UNSAID = -1  # The success of a step that leaves it to the outcome.


class Stepped(NamedTuple):
  """What an action brought.

  Attributes:
    state: after it.
    reward: float32 [].
    terminated: bool [].
    truncated: bool [].
    success: int32 []: 1, 0, or `UNSAID`.
    parse_error: bool [].
    evidence: float32 [E], in the order of `Game.evidence`.
  """

  state: State
  reward: Any
  terminated: Any
  truncated: Any
  success: Any
  parse_error: Any
  evidence: Any


class Game(NamedTuple):
  """A family of episodes, addressed by an index.

  Attributes:
    pieces: what observations are made of: their text is the pieces joined by
      nothing. A piece has the space before a word and the end of line after it.
    actions: what can be read, in lower case, words one space apart. Case and
      the space around an action do not matter; other than ASCII is unreadable.
    begin: `(index, split, seed) -> State`, on the host, of NumPy arrays.
    reseed: `(State, seed) -> State`: the same place, with another chance.
    observe: `(State, xp) -> int32 [C]`, numbers of pieces; -1 is nothing.
    step: `(State, action, xp) -> Stepped`; the action is int32 [], or
      `UNREADABLE`.
    key: `(State, xp) -> int32 [K]`, the canonical observation in numbers.
    state_key: `(numbers) -> Hashable`: the same as the host names it.
    evidence: names of the columns of the step table that it fills.
  """

  pieces: tuple[str, ...]
  actions: tuple[str, ...]
  begin: Callable[[int, str, int], State]
  reseed: Callable[[State, int], State]
  observe: Callable[[State, Any], Any]
  step: Callable[[State, Any, Any], Stepped]
  key: Callable[[State, Any], Any]
  state_key: Callable[[tuple[int, ...]], Hashable]
  evidence: tuple[str, ...] = ()


@runtime_checkable
class OnDevice(Protocol):
  """What a task has, beside, whose episodes can be played on the device."""

  def on_device(self) -> Game:
    """Returns the game whose episodes are those of `Task.episode`."""
    ...
