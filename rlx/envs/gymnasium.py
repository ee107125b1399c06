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
  """

  def __init__(self, env: Any, text: Text, *, invalid_penalty: float = 0.1):
    self._env = env
    self._text = text
    self._invalid_penalty = invalid_penalty
    self._observation: Any = None

  def reset(self, seed: int) -> tuple[str, protocol.Info]:
    self._observation, _ = self._env.reset(seed=seed)
    return self._shown({})

  def step(self, action: str) -> tuple[str, float, bool, bool, protocol.Info]:
    chosen, before = self._text.act(action), self._observation
    if chosen is None:
      found = {"parse_error": True, **self._evidence(before, None)}
      text, info = self._shown(found)
      return text, -self._invalid_penalty, False, False, info
    self._observation, reward, terminated, truncated, info = self._env.step(
      chosen
    )
    reward = float(reward)
    end = {"success": self._text.success(reward, info)} if terminated else {}
    text, info = self._shown({**end, **self._evidence(before, chosen)})
    return text, reward, bool(terminated), bool(truncated), info

  def _evidence(self, before: Any, chosen: Any) -> protocol.Info:
    if self._text.evidence is None:
      return {}
    now = self._observation
    return {"evidence": self._text.evidence(self._env, before, chosen, now)}

  def snapshot(self) -> Any:
    return copy.deepcopy(self._env), copy.deepcopy(self._observation)

  def restore(self, snapshot: Any, seed: int) -> None:
    self._env, self._observation = copy.deepcopy(snapshot)
    # Gymnasium has no other way to reseed without a reset.
    self._env.unwrapped.np_random = np.random.default_rng(seed)

  def _shown(self, info: protocol.Info) -> tuple[str, protocol.Info]:
    key = self._text.state_key(self._env, self._observation)
    text = self._text.observe(self._env, self._observation)
    return text, {**info, "state_key": key}
