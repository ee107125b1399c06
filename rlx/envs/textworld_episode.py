"""A game of TextWorld's engines, its own or one of PDDL, as a text episode."""

import contextlib
import hashlib
import re
from collections.abc import Callable
from typing import Any

from rlx.envs import protocol

# What the interpreter draws around a game's words: the banner, the status line.
_BANNER = re.compile(r"\A(?:[ \t]*[|\\/_$> ]*\n)+")
_END = re.compile(r"\n>[^\n]*\Z|\s*Would you like to RESTART.*\Z", re.S)

EVIDENCE = ("process", "grounded")


class GameEpisode:
  """A game behind `protocol.Episode`: commands in, what the game says out.

  A command is the first line of what is written. One that the game does not
  list as possible is given to it all the same, which answers that it does not
  understand; it is counted as one that could not be read. The reward is what
  the score rises by, as a share of the highest score. Evidence: "process" is 1
  where what is left to be done became shorter, "grounded" where the command was
  one of those possible.

  The engines cannot be copied midway, so a snapshot is the commands so far, and
  restoring it plays them again: games leave nothing to chance.
  """

  evidence = EVIDENCE

  def __init__(
    self,
    make: Callable[[], Any],
    *,
    turns: int,
    show_commands: bool,
    lock: contextlib.AbstractContextManager[Any] | None = None,
  ):
    """Prepares a game; the engine starts at the first reset.

    Args:
      make: returns an engine whose states have admissible and policy commands,
        facts, won, and the scores.
      turns: commands until it is truncated.
      show_commands: whether observations list what can be done.
      lock: held while the engine works, if several cannot work at once.
    """
    self._lock = contextlib.nullcontext() if lock is None else lock
    self._make, self._turns = make, turns
    self._show_commands = show_commands
    self._engine: Any = None
    self._state: Any = None
    self._commands: tuple[str, ...] = ()

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The game says everything.
    with self._lock:
      if self._engine is None:
        self._engine = self._make()
      self._state, self._commands = self._engine.reset(), ()
    return self._shown(), {"state_key": self._key()}

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    command = (action.strip().splitlines() or [""])[0].strip()
    before, known = self._state, command in self.actions()
    done = self._advance(command)
    won = bool(self._state.get("won"))
    reward = (_score(self._state) - _score(before)) / max(_most(self._state), 1)
    shorter = won or 0 < _left(self._state) < _left(before)
    process = float(shorter)
    info = {
      "state_key": self._key(),
      "parse_error": not known,
      "evidence": {"process": process, "grounded": float(known)},
      "success": won,
    }
    truncated = not done and len(self._commands) >= self._turns
    return self._shown(), reward, done, truncated, info

  def actions(self) -> tuple[str, ...]:
    """Returns the commands that are possible now."""
    return tuple(self._state.get("admissible_commands") or ())

  def snapshot(self) -> tuple[str, ...]:
    return self._commands

  def restore(self, snapshot: tuple[str, ...], seed: int) -> None:
    self.reset(seed)
    for command in snapshot:
      self._advance(command)

  def expert_action(self) -> str:
    """Returns the next command of a way to win, or "look" where none is known."""
    return next(iter(self._state.get("policy_commands") or ()), "look")

  def hint(self) -> str:
    """Returns what the expert would do."""
    return self.expert_action()

  def _advance(self, command: str) -> bool:
    # An empty line makes an interpreter wait for another one.
    with self._lock:
      self._state, _, done = self._engine.step(command or "look")
    self._commands = (*self._commands, command)
    return bool(done)

  def _shown(self) -> str:
    text = clean(self._state.get("feedback"))
    if self._show_commands:
      text += f"\nYou can: {', '.join(self.actions())}."
    return text

  def _key(self) -> str:
    """Returns a digest of everything that is so in the world."""
    facts = self._state.get("_facts") or [self._state.get("feedback")]
    text = "\n".join(sorted(map(str, facts))).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def clean(text: str) -> str:
  """Returns what a game says, without banner, status line and empty lines."""
  text = _END.sub("", _BANNER.sub("", text))
  return re.sub(r"\n{3,}", "\n\n", text).strip()


def _score(state: Any) -> int:
  return state.get("score") or 0


def _most(state: Any) -> int:
  return state.get("max_score") or 1


def _left(state: Any) -> int:
  """Returns how many commands are left; 0 for none, or where nobody knows."""
  return len(state.get("policy_commands") or ())
