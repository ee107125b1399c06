"""An environment for other processes, which import this and nothing heavy."""

import dataclasses
import functools
import os
import signal
import time
from typing import Any


@dataclasses.dataclass
class Misbehaving:
  """Pays its turn, shows its process, and may do worse in its second turn."""

  index: int
  how: str = ""
  turn: int = 0

  def reset(self, seed: int) -> tuple[str, dict[str, Any]]:
    del seed
    return "l", {}

  def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    self.turn += 1
    if self.turn == 2 and self.how == "hangs":
      time.sleep(1000)
    if self.how == "sleeps":
      time.sleep(float(action))
    if self.how == "deaf":
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
      time.sleep(1000)
    if self.turn == 2 and self.how == "dies":
      os._exit(3)
    if self.turn == 2 and self.how == "raises":
      raise OSError("no route")
    info = {"state_key": ("turn", self.turn)}
    return "r", self.index + self.turn + len(action), False, False, info

  def snapshot(self) -> int:
    return self.turn

  def restore(self, snapshot: int, seed: int) -> None:
    del seed
    self.turn = snapshot


def make(how: str, index: int) -> Misbehaving:
  # Of every group one; `how` is done by those of group 1 alone.
  return Misbehaving(index, how if index == 1 else "")


def maker(how: str = "") -> Any:
  return functools.partial(make, how)
