"""Evaluation on what is held out, with its own keys and an interval."""

import math
from typing import Any, NamedTuple

import numpy as np

from rlx import experiment, metrics, rollouts, sharding
from rlx.assemble import GREEDY, Parts

# Held-out prompts are numbered from here, so that no draw of an evaluation is
# one of training; the largest number a key can be folded with is 2**32 - 1.
FIRST_ID = 1 << 30


class Evaluation(NamedTuple):
  """A success rate.

  Attributes:
    success: mean over samples.
    low, high: Wilson's 95 % interval.
    reward: mean outcome.
    n: episodes or completions, but for those whose environment failed.
  """

  success: float
  low: float
  high: float
  reward: float
  n: int


class Evaluator:
  """Evaluates parameters; compiled once for each sampler that is used."""

  def __init__(self, config: experiment.TrainConfig, parts: Parts):
    self._num = min(config.eval.num, parts.num_test)
    self._samples = config.eval.samples
    self._parts = parts
    self._sampling = config.rollout.sampling
    self._collects: dict[bool, rollouts.Collect] = {}

  def __call__(self, params: Any, *, greedy: bool = False) -> Evaluation:
    """Returns the result at the sampling settings of training, or greedy."""
    played = self.play(params, greedy=greedy)
    # Neither what only fills the shape nor what an environment has failed.
    counted = played.record.turns > 0
    counted[self._count(greedy) :] = False
    outcome = played.record.outcome()[counted]
    success = played.success[counted]
    low, high = metrics.wilson_interval(int(success.sum()), len(success))
    return Evaluation(
      success=float(success.mean()),
      low=low,
      high=high,
      reward=float(outcome.mean()),
      n=len(success),
    )

  def play(self, params: Any, *, greedy: bool = False):
    """Returns the episodes themselves; rows beyond the last prompt repeat it."""
    rows = self._rows(greedy)
    if greedy not in self._collects:
      self._collects[greedy] = self._parts.collector(
        "test",
        GREEDY if greedy else self._sampling,
        rows,
        1 if greedy else self._samples,
      )
    indices = np.minimum(np.arange(rows), self._num - 1)
    ids = [FIRST_ID + int(i) for i in indices]
    return self._collects[greedy](params, ids, indices.tolist(), 0)

  def _count(self, greedy: bool) -> int:
    return self._num * (1 if greedy else self._samples)

  def _rows(self, greedy: bool) -> int:
    """Prompts, filled up so that their samples divide over the mesh."""
    parts = sharding.batch_devices(self._parts.mesh)
    step = parts // math.gcd(parts, 1 if greedy else self._samples)
    return -(-self._num // step) * step
