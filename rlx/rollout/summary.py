"""The metrics of a batch of episodes or completions, by the field's names."""

import collections

import numpy as np

from rlx.rollout.played import ENDED, Played

SPREAD = 1e-6  # Outcomes of a group nearer than this are equal.


def measure(played: Played) -> dict[str, float]:
  """Returns the metrics of what was sampled, before any filtering.

  `reward` is the mean outcome; `reward_std` the mean spread within groups;
  lengths are in tokens that the policy chose. Episodes whose environment failed
  are in `num_tokens` and `stop/environment_error` or `stop/rollout_timeout`, and
  in nothing else. Of a tree, `reward` is that of its leaves. What there is
  nothing of is NaN. `step/num_segments` is how many sequences an episode is;
  there is none where the template only appends.
  """
  log = played.record
  kept = log.turns > 0
  if played.whole is not None:
    kept &= played.whole
  found = log.outcome()
  groups = [
    found[kept & (log.prompt == prompt)] for prompt in np.unique(log.prompt)
  ]
  # Steps that a filter has left out of the loss were chosen all the same.
  chosen, turns = (log.segment >= 0).sum(1)[kept], log.turns[kept]
  ended = np.array([stop in ENDED for stop in played.stop])[kept]
  paid = np.arange(log.reward.shape[1])[None] < log.turns[:, None]
  with np.errstate(invalid="ignore"):  # A reward that is not finite.
    spreads = [x.std() for x in groups if x.size]
  out = {
    "reward": _mean(found[kept]),
    "reward_std": _mean(np.array(spreads)),
    "frac_reward_zero_std": _mean(np.array([_is_dead(x) for x in groups])),
    "success": _mean(played.success[kept]),
    "completions/mean_length": _mean(chosen),
    "completions/min_length": chosen.min() if chosen.size else np.nan,
    "completions/max_length": chosen.max() if chosen.size else np.nan,
    "completions/clipped_ratio": 1 - _mean(ended),
    "completions/mean_terminated_length": (
      chosen[ended].mean() if ended.any() else 0.0
    ),
    "num_tokens": log.length.sum(),
    "step/num_steps": _mean(turns),
    "step/step_length": _share(chosen, turns),
    "step/reward": _mean(log.reward[paid]),
    "parse_errors": _share(played.parse_errors[kept], turns),
    **played.rewards,
  }
  if log.breaks is not None:
    out["step/num_segments"] = _mean((log.breaks >= 0).sum(1)[kept])
  counted = np.ones(len(kept), bool) if played.whole is None else played.whole
  stops = np.array(played.stop)[counted].tolist()
  for reason, count in collections.Counter(stops).items():
    out[f"stop/{reason}"] = count / len(stops)
  return {name: float(x) for name, x in out.items()}


def _mean(x: np.ndarray) -> float:
  """The mean; of nothing it is NaN."""
  return float(x.mean()) if x.size else float("nan")


def _share(x: np.ndarray, turns: np.ndarray) -> float:
  """How much of it there is in a turn; NaN without any."""
  return float(x.sum() / turns.sum()) if turns.any() else float("nan")


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
