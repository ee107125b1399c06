"""The metrics of a batch of episodes or completions, by the field's names."""

import collections

import numpy as np

from rlx.rollout import episodes

SPREAD = 1e-6  # Outcomes of a group nearer than this are equal.


def measure(played: episodes.Played, group_size: int) -> dict[str, float]:
  """Returns the metrics of what was sampled, before any filtering.

  `reward` is the mean outcome; `reward_std` the mean spread within groups;
  lengths are in tokens that the policy chose. Episodes whose environment failed
  are in `num_tokens` and `stop/environment_error`, and in nothing else.
  """
  log = played.record
  outcome = _outcomes(played, group_size)
  kept = log.turns > 0
  chosen, turns = log.mask.sum(1)[kept], log.turns[kept]
  ended = np.array([stop in ("completed", "stop") for stop in played.stop])[
    kept
  ]
  paid = np.arange(log.reward.shape[1])[None] < log.turns[:, None]
  out = {
    "reward": outcome.mean(),
    "reward_std": outcome.std(1).mean(),
    "success": played.success[kept].mean(),
    "frac_reward_zero_std": dead_groups(played, group_size).mean(),
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
  for reason, count in collections.Counter(played.stop).items():
    out[f"stop/{reason}"] = count / len(played.stop)
  return {name: float(x) for name, x in out.items()}


def dead_groups(played: episodes.Played, group_size: int) -> np.ndarray:
  """Returns bool [P]: groups whose outcomes are equal, without signal."""
  outcome = _outcomes(played, group_size)
  spread = outcome.max(1) - outcome.min(1)
  return np.ma.filled(spread, 0.0) < SPREAD


def _outcomes(played: episodes.Played, group_size: int) -> np.ma.MaskedArray:
  """Outcomes [P G], without those of episodes whose environment failed."""
  log = played.record
  found = np.ma.array(log.outcome(), mask=log.turns == 0)
  return found.reshape(-1, group_size)
