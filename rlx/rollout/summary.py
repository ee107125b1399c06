"""The metrics of a batch of episodes or completions, by the field's names."""

import collections

import numpy as np

from rlx.rollout.played import Played

SPREAD = 1e-6  # Outcomes of a group nearer than this are equal.


def measure(played: Played) -> dict[str, float]:
  """Returns the metrics of what was sampled, before any filtering.

  `reward` is the mean outcome; `reward_std` the mean spread within groups;
  lengths are in tokens that the policy chose. Episodes whose environment failed
  are in `num_tokens` and `stop/environment_error`, and in nothing else. Of a
  tree, `reward` is that of its leaves.
  """
  log = played.record
  kept = log.turns > 0
  if played.whole is not None:
    kept &= played.whole
  found = log.outcome()
  groups = [
    found[kept & (log.prompt == prompt)] for prompt in np.unique(log.prompt)
  ]
  chosen, turns = log.mask.sum(1)[kept], log.turns[kept]
  ended = np.array([stop in ("completed", "stop") for stop in played.stop])[
    kept
  ]
  paid = np.arange(log.reward.shape[1])[None] < log.turns[:, None]
  with np.errstate(invalid="ignore"):  # A reward that is not finite.
    spreads = [x.std() for x in groups if x.size]
  out = {
    "reward": found[kept].mean(),
    "reward_std": np.mean(spreads),
    "frac_reward_zero_std": np.mean([_is_dead(x) for x in groups]),
    "success": played.success[kept].mean(),
    "completions/mean_length": chosen.mean(),
    "completions/min_length": chosen.min(),
    "completions/max_length": chosen.max(),
    "completions/clipped_ratio": 1 - ended.mean(),
    "completions/mean_terminated_length": (
      chosen[ended].mean() if ended.any() else 0.0
    ),
    "num_tokens": log.length.sum(),
    "step/num_steps": turns.mean(),
    "step/step_length": chosen.sum() / turns.sum(),
    "step/reward": log.reward[paid].mean(),
    "parse_errors": played.parse_errors[kept].sum() / turns.sum(),
    **played.rewards,
  }
  counted = np.ones(len(kept), bool) if played.whole is None else played.whole
  stops = np.array(played.stop)[counted].tolist()
  for reason, count in collections.Counter(stops).items():
    out[f"stop/{reason}"] = count / len(stops)
  return {name: float(x) for name, x in out.items()}


def dead_groups(played: Played, group_size: int) -> np.ndarray:
  """Returns bool [P]: groups whose outcomes are equal, without signal."""
  log = played.record
  outcome = log.outcome().reshape(-1, group_size)
  there = (log.turns > 0).reshape(-1, group_size)
  return np.array(
    [_is_dead(x[y]) for x, y in zip(outcome, there, strict=True)], bool
  )


def _is_dead(outcomes: np.ndarray) -> bool:
  with np.errstate(invalid="ignore"):
    return not outcomes.size or bool(np.ptp(outcomes) < SPREAD)
