"""A game of the device played on the host: the same functions under NumPy."""

from typing import Any

import numpy as np

from rlx.envs import protocol as hosts
from rlx.envs.device import language, protocol


class GameEpisode:
  """One episode of a game, behind `rlx.envs.protocol.Episode`.

  Its snapshot is the game's state.
  """

  def __init__(self, game: protocol.Game, index: int, split: str):
    self.game = game
    self.state: protocol.State = None
    self._index, self._split = index, split

  def reset(self, seed: int) -> tuple[str, hosts.Info]:
    self.state = self.game.begin(self._index, self._split, seed)
    return language.text(self.game, self.state), {"state_key": self._key()}

  def step(self, action: str) -> tuple[str, float, bool, bool, hosts.Info]:
    game = self.game
    number = np.int32(language.act(game, action))
    found = game.step(self.state, number, np)
    self.state = found.state
    values = zip(game.evidence, found.evidence, strict=True)
    info: dict[str, Any] = {
      "state_key": self._key(),
      "evidence": {name: float(x) for name, x in values},
    }
    if found.parse_error:
      info["parse_error"] = True
    if found.success != protocol.UNSAID:
      info["success"] = bool(found.success)
    shown = language.text(game, self.state)
    over = bool(found.terminated), bool(found.truncated)
    return shown, float(found.reward), *over, info

  def snapshot(self) -> protocol.State:
    return self.state

  def restore(self, snapshot: protocol.State, seed: int) -> None:
    self.state = self.game.reseed(snapshot, seed)

  def _key(self):
    numbers = self.game.key(self.state, np)
    return self.game.state_key(tuple(int(x) for x in numbers))
