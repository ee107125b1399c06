"""A Gymnasium environment by its id, its spaces read and written as text.

    position -0.03, velocity 0.01, angle 0.04, spin -0.02     right

Numbers are shown to three digits, grids as rows, what an environment can draw in
text as it draws it; an action is a name, or its number, or numbers.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlx.envs import gymnasium as adapter
from rlx.envs import protocol

_TRAIN_SEED = 1 << 20
_LONGEST = 64  # Numbers of an observation that a person would read.


@dataclasses.dataclass(frozen=True)
class GymnasiumTask:
  """Any registered environment whose spaces are small enough to be text.

  The index decides where an episode begins: it is Gymnasium's seed, and those
  of held-out episodes are never trained on.
  """

  id: str = "CartPole-v1"
  """Gymnasium's name of it."""
  actions: tuple[str, ...] = ()
  """Names of a discrete space's actions, in order; their numbers if empty."""
  observations: tuple[str, ...] = ()
  """Names of a vector's numbers, in order; none if empty."""
  draw: bool = False
  """Show what the environment draws as text (render_mode "ansi")."""
  turns: int = 100
  """Actions an episode may take."""
  held_out: int = 256
  """Number of held-out episodes."""
  invalid_penalty: float = 0.1
  """Cost of an action that cannot be read."""
  success_above: float | None = None
  """An episode succeeds where the sum of its rewards is above this. None: where
  the last reward is positive as it terminates, or the sum where it does not."""

  def __post_init__(self):
    if self.turns < 1 or self.held_out < 1:
      raise ValueError(
        f"turns={self.turns}, held_out={self.held_out}: must be 1 or more"
      )

  @property
  def max_turns(self) -> int:
    return self.turns

  def num_test(self) -> int:
    return self.held_out

  def words(self) -> tuple[str, ...]:
    return ()

  def episode(self, index: int, split: str) -> "StartedEpisode":
    # Imported here: only those who play need Gymnasium.
    import gymnasium

    try:
      env = gymnasium.make(
        self.id,
        max_episode_steps=self.turns,
        render_mode="ansi" if self.draw else None,
      )
    except gymnasium.error.Error as error:
      raise ValueError(f"id={self.id!r}: {error}") from error
    text = text_of(env, self.actions, self.observations, self.draw)
    seed = index % self.held_out if split == "test" else _TRAIN_SEED + index
    return StartedEpisode(
      env,
      text,
      seed,
      invalid_penalty=self.invalid_penalty,
      success_above=self.success_above,
    )


class StartedEpisode(adapter.GymnasiumEpisode):
  """An episode that begins where its own seed says, and adds its rewards."""

  def __init__(
    self,
    env: Any,
    text: adapter.Text,
    start: int,
    *,
    invalid_penalty: float,
    success_above: float | None = None,
  ):
    super().__init__(env, text, invalid_penalty=invalid_penalty)
    self._start, self._above, self._total = start, success_above, 0.0

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    del seed  # The index says where it begins.
    self._total = 0.0
    return super().reset(self._start)

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    text, reward, terminated, truncated, info = super().step(action)
    self._total += reward
    if self._above is not None:
      info = {**info, "success": self._total > self._above}
    return text, reward, terminated, truncated, info

  def snapshot(self) -> Any:
    return self._total, super().snapshot()

  def restore(self, snapshot: Any, seed: int) -> None:
    self._total, place = snapshot
    super().restore(place, seed)


def text_of(
  env: Any,
  actions: Sequence[str] = (),
  observations: Sequence[str] = (),
  draw: bool = False,
) -> adapter.Text:
  """Returns how an environment is read and acted on as text, by its spaces.

  Raises:
    ValueError: a space has no text, or there are more or fewer names than it
      has actions or numbers.
  """
  show = (lambda env, _: plain(env.render())) if draw else None
  if show is None:
    _check_observation(env.observation_space, observations)
    show = lambda _, observation: describe(observation, observations)
  names = _action_names(env.action_space, actions)
  return adapter.Text(
    observe=show,
    act=lambda text: read(env.action_space, names, text),
    state_key=lambda _, observation: describe(observation, observations),
    actions=names,
  )


def plain(drawn: str) -> str:
  """Returns a drawing without colours: [x] was on one, *x* bold, (x) coloured."""

  def marked(found: re.Match[str]) -> str:
    codes, text = found[1].split(";"), found[2]
    if any(re.fullmatch(r"(?:4|10)[0-7]", code) for code in codes):
      return f"[{text}]"
    return f"*{text}*" if "1" in codes else f"({text})"

  drawn = re.sub(r"\x1b\[([\d;]+)m(.*?)\x1b\[0?m", marked, drawn, flags=re.S)
  return drawn.strip("\n")


def _kind(space: Any) -> str:
  return type(space).__name__


def _check_observation(space: Any, names: Sequence[str]) -> None:
  if _kind(space) in ("Tuple", "Dict"):
    parts = space.spaces.values() if _kind(space) == "Dict" else space.spaces
    for part in parts:
      _check_observation(part, ())
  elif _kind(space) not in ("Discrete", "MultiDiscrete", "MultiBinary", "Box"):
    raise ValueError(
      f"observations: a space of {_kind(space)} has no text; write a Text of "
      "your own (rlx.envs.gymnasium)"
    )
  elif (size := int(np.prod(space.shape, dtype=np.int64))) > _LONGEST:
    raise ValueError(
      f"observations: {size} numbers are too many to read, more than {_LONGEST}; "
      "write a Text of your own (rlx.envs.gymnasium), or try draw=True"
    )
  elif names and len(names) != size:
    raise ValueError(f"observations: {len(names)} names of {size} numbers")


def _action_names(space: Any, names: Sequence[str]) -> tuple[str, ...]:
  if _kind(space) != "Discrete":
    if names:
      raise ValueError(
        f"actions: names are of a discrete space, this one is {_kind(space)}"
      )
    if _kind(space) not in ("Box", "MultiDiscrete", "MultiBinary"):
      raise ValueError(
        f"actions: a space of {_kind(space)} has no text; write a Text of your "
        "own (rlx.envs.gymnasium)"
      )
    return ()
  if names and len(names) != space.n:
    raise ValueError(f"actions: {len(names)} names of {space.n} actions")
  return tuple(names) or tuple(str(space.start + i) for i in range(space.n))


def describe(observation: Any, names: Sequence[str] = ()) -> str:
  """Returns an observation as text; names are of a vector's numbers."""
  if isinstance(observation, dict):
    return "; ".join(f"{k}: {describe(v)}" for k, v in observation.items())
  if isinstance(observation, tuple):
    return "; ".join(map(describe, observation))
  array = np.asarray(observation)
  if array.ndim >= 2:
    return "\n".join(" ".join(map(_number, row)) for row in array)
  numbers = [_number(x) for x in array.ravel()]
  pairs = itertools.zip_longest(names, numbers, fillvalue="")
  return ", ".join(f"{name} {number}".strip() for name, number in pairs)


def _number(value: Any) -> str:
  return f"{value:.3g}" if isinstance(value, np.floating) else str(value)


def read(space: Any, names: Sequence[str], text: str) -> Any:
  """Returns the action that a text is: a name, its number, or numbers; or None."""
  text = text.strip()
  if names:
    words = [name.lower() for name in names]
    if text.lower() in words:
      return space.start + words.index(text.lower())
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
      return None
    number = int(text)
    return number if number - space.start in range(space.n) else None
  try:
    numbers = [float(x) for x in text.replace(",", " ").split()]
    action = np.array(numbers, np.float64).reshape(space.shape)
  except ValueError:
    return None
  if not np.isfinite(action).all():
    return None
  # In the space's own numbers: 0.5 is no choice of two.
  found = action.astype(space.dtype)
  exact = np.issubdtype(space.dtype, np.floating) or (found == action).all()
  return found if exact and space.contains(found) else None
