"""The metrics of a batch of episodes or completions, by the field's names."""

import collections

import numpy as np

from rlx.rollout import episodes

SPREAD = 1e-6  # Outcomes of a group nearer than this are equal.


def measure(played: episodes.Played, group_size: int) -> dict[str, float]:
  """Returns the metrics of what was sampled, before any filtering.

  `reward` is the mean outcome; `reward_std` the mean spread within groups;
  lengths are in tokens that the policy chose.
  """
  log = played.record
  outcome = log.outcome()
  spread = outcome.reshape(-1, group_size).std(1)
  chosen = log.mask.sum(1)
  turns = log.turns
  ended = np.array([stop in ("completed", "stop") for stop in played.stop])
  paid = np.arange(log.reward.shape[1])[None] < turns[:, None]
  out = {
    "reward": outcome.mean(),
    "reward_std": spread.mean(),
    "success": played.success.mean(),
    "frac_reward_zero_std": (spread < SPREAD).mean(),
    "completions/mean_length": chosen.mean(),
    "completions/min_length": chosen.min(),
    "completions/max_length": chosen.max(),
    "completions/clipped_ratio": 1 - ended.mean(),
    "completions/mean_terminated_length": (
      chosen[ended].mean() if ended.any() else 0.0
    ),
    "num_tokens": log.length.sum(),
    "step/num_steps": turns.mean(),
    "step/step_length": chosen.sum() / max(turns.sum(), 1),
    "step/reward": log.reward[paid].mean() if paid.any() else 0.0,
    "parse_errors": played.parse_errors.sum() / max(turns.sum(), 1),
    **played.rewards,
  }
  for reason, count in collections.Counter(played.stop).items():
    out[f"stop/{reason}"] = count / len(played.stop)
  return {name: float(x) for name, x in out.items()}


def dead_groups(played: episodes.Played, group_size: int) -> np.ndarray:
  """Returns bool [P]: groups whose outcomes are equal, without signal."""
  outcome = played.record.outcome().reshape(-1, group_size)
  return np.ptp(outcome, axis=1) < SPREAD
