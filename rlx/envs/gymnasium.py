"""Any Gymnasium environment as a text episode.

`rlx.envs.gymnasium_task` makes a task of one by its id, with text for its spaces.
"""

import copy
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from rlx.envs import protocol


class Text(NamedTuple):
  """How one Gymnasium environment is read and acted on as text.

  Attributes:
    observe: `(env, observation) -> str`.
    act: `(str) -> action`, or None where the text is no action.
    state_key: `(env, observation) -> key`, the canonical observation.
    success: `(reward, info) -> bool`, asked when the episode terminates.
    evidence: `(env, observation, action, next observation) -> {name: number}`,
      columns of the step table; the action is None where the text is none.
    actions: the texts of a discrete space's actions, in order, if it is one.
  """

  observe: Callable[[Any, Any], str]
  act: Callable[[str], Any]
  state_key: Callable[[Any, Any], Hashable]
  success: Callable[[float, dict[str, Any]], bool] = lambda reward, _: (
    reward > 0
  )
  evidence: Callable[[Any, Any, Any, Any], dict[str, float]] | None = None
  actions: tuple[str, ...] = ()


class _Played(NamedTuple):
  """How an environment that cannot be copied came to where it is."""

  seed: int
  actions: tuple[Any, ...]


class GymnasiumEpisode:
  """A Gymnasium environment behind `protocol.Episode`.

  An action that cannot be read costs `invalid_penalty` and leaves the state as
  it was; the observation is repeated. A snapshot is a deep copy; where an
  environment cannot be copied, it is the seed and the actions, which are then
  played again.

  Attributes:
    env: Gymnasium's.
    observation: its last.
  """

  def __init__(self, env: Any, text: Text, *, invalid_penalty: float = 0.1):
    self.env = env
    self._text = text
    self._invalid_penalty = invalid_penalty
    self.observation: Any = None
    self._info: dict[str, Any] = {}
    self._played = _Played(0, ())

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    self._begin(seed)
    return self._shown({})

  def _begin(self, seed: int) -> None:
    self.observation, self._info = self.env.reset(seed=seed)
    self._played = _Played(seed, ())

  def _act(self, chosen: Any) -> tuple[float, bool, bool]:
    self.observation, reward, terminated, truncated, self._info = self.env.step(
      chosen
    )
    seed, actions = self._played
    self._played = _Played(seed, (*actions, chosen))
    return float(reward), bool(terminated), bool(truncated)

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    chosen, before = self._text.act(action), self.observation
    if chosen is None:
      found = {"parse_error": True, **self._evidence(before, None)}
      text, info = self._shown(found)
      return text, -self._invalid_penalty, False, False, info
    reward, terminated, truncated = self._act(chosen)
    end = {}
    if terminated:
      end = {"success": bool(self._text.success(reward, self._info))}
    text, info = self._shown({**end, **self._evidence(before, chosen)})
    return text, reward, terminated, truncated, info

  def actions(self) -> tuple[str, ...]:
    """Returns the actions that are possible now; () where they are no list."""
    mask = self._info.get("action_mask")
    if mask is None:
      return self._text.actions
    pairs = zip(self._text.actions, mask, strict=True)
    return tuple(action for action, possible in pairs if possible)

  def _evidence(self, before: Any, chosen: Any) -> protocol.Info:
    if self._text.evidence is None:
      return {}
    now = self.observation
    return {"evidence": self._text.evidence(self.env, before, chosen, now)}

  def snapshot(self) -> Any:
    try:
      return copy.deepcopy(
        (self.env, self.observation, self._info, self._played)
      )
    except Exception:  # Of any kind: locks, handles, what C holds.
      return self._played

  def restore(self, snapshot: Any, seed: int) -> None:
    if isinstance(snapshot, _Played):
      self._begin(snapshot.seed)
      for action in snapshot.actions:
        self._act(action)
    else:
      found = copy.deepcopy(snapshot)
      self.env, self.observation, self._info, self._played = found
    # Gymnasium has no other way to reseed without a reset.
    self.env.unwrapped.np_random = np.random.default_rng(seed)

  def _shown(self, info: protocol.Info) -> tuple[str, protocol.Info]:
    key = self._text.state_key(self.env, self.observation)
    text = self._text.observe(self.env, self.observation)
    return text, {**info, "state_key": key}
