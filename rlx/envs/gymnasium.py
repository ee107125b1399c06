"""Any Gymnasium environment as a text episode."""

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
  """

  observe: Callable[[Any, Any], str]
  act: Callable[[str], Any]
  state_key: Callable[[Any, Any], Hashable]
  success: Callable[[float, dict[str, Any]], bool] = lambda reward, _: (
    reward > 0
  )
  evidence: Callable[[Any, Any, Any, Any], dict[str, float]] | None = None


class GymnasiumEpisode:
  """A Gymnasium environment behind `protocol.Episode`.

  An action that cannot be read costs `invalid_penalty` and leaves the state as
  it was; the observation is repeated.

  Attributes:
    env: Gymnasium's.
    observation: its last.
  """

  def __init__(self, env: Any, text: Text, *, invalid_penalty: float = 0.1):
    self.env = env
    self._text = text
    self._invalid_penalty = invalid_penalty
    self.observation: Any = None

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    self.observation, _ = self.env.reset(seed=seed)
    return self._shown({})

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    chosen, before = self._text.act(action), self.observation
    if chosen is None:
      found = {"parse_error": True, **self._evidence(before, None)}
      text, info = self._shown(found)
      return text, -self._invalid_penalty, False, False, info
    self.observation, reward, terminated, truncated, info = self.env.step(
      chosen
    )
    reward = float(reward)
    end = {"success": self._text.success(reward, info)} if terminated else {}
    text, info = self._shown({**end, **self._evidence(before, chosen)})
    return text, reward, bool(terminated), bool(truncated), info

  def _evidence(self, before: Any, chosen: Any) -> protocol.Info:
    if self._text.evidence is None:
      return {}
    now = self.observation
    return {"evidence": self._text.evidence(self.env, before, chosen, now)}

  def snapshot(self) -> Any:
    return copy.deepcopy(self.env), copy.deepcopy(self.observation)

  def restore(self, snapshot: Any, seed: int) -> None:
    self.env, self.observation = copy.deepcopy(snapshot)
    # Gymnasium has no other way to reseed without a reset.
    self.env.unwrapped.np_random = np.random.default_rng(seed)

  def _shown(self, info: protocol.Info) -> tuple[str, protocol.Info]:
    key = self._text.state_key(self.env, self.observation)
    text = self._text.observe(self.env, self.observation)
    return text, {**info, "state_key": key}
