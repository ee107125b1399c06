"""Dynamic sampling: groups without signal are left out and others sampled.

DAPO's filter, with a bound on what it may cost. Shapes stay fixed: a step always
has `num_prompts` groups, and those that are still dead after the last refill
stay, without a loss.

Source: Yu et al. 2025, arXiv:2503.14476, section 3.2.
"""

import collections
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from rlx import batch
from rlx.rollout import config as configs
from rlx.rollout import episodes, record, summary


def collect(
  config: configs.RolloutConfig,
  sample: Any,
  params: Any,
  cursor: int,
  *,
  version: int,
) -> tuple[episodes.Played, int]:
  """Returns a batch of groups and the cursor after the prompts it has drawn.

  Without `filter_groups` this is one rollout. With it, dead groups (equal
  outcomes) are replaced by living ones of further rollouts, `max_refills` at
  the most. Metrics `refill/rollouts` and `refill/dropped` say what it cost, and
  `reward_before_filter` what the prompts were worth before.
  """

  def draw():
    ids = [cursor + i for i in range(config.num_prompts)]
    return sample(params, ids, ids, version), cursor + config.num_prompts

  played, cursor = draw()
  if not config.filter_groups:
    return played, cursor
  found, rollouts = [played], 1
  alive = [~summary.dead_groups(played, config.group_size)]
  while rollouts <= config.max_refills and (
    sum(x.sum() for x in alive) < config.num_prompts
  ):
    more, cursor = draw()
    found.append(more)
    alive.append(~summary.dead_groups(more, config.group_size))
    rollouts += 1
  every = np.concatenate(alive)
  # The living in order of arrival, then as many dead as the shape needs.
  order = np.argsort(~every, kind="stable")[: config.num_prompts]
  reward = np.mean([x.record.outcome().mean() for x in found])
  kept = _select(found, order, config.group_size)
  costs = {
    "reward_before_filter": float(reward),
    "refill/rollouts": float(rollouts),
    "refill/dropped": float(1 - every.mean()),
  }
  return kept._replace(rewards={**kept.rewards, **costs}), cursor


def train_on(
  config: configs.RolloutConfig, played: episodes.Played
) -> tuple[batch.Rollout, batch.Steps]:
  """Returns what is learnt from: dead and truncated ones leave the loss only."""
  rollout, steps = played.record.rollout(), played.record.steps()
  lost = np.zeros(len(rollout.mask), bool)
  if config.filter_groups:
    lost |= np.repeat(
      summary.dead_groups(played, config.group_size), config.group_size
    )
  if config.mask_truncated:
    lost |= np.array(
      [stop not in ("completed", "stop") for stop in played.stop]
    )
  mask = rollout.mask & ~jnp.array(lost)[:, None]
  return dataclasses.replace(rollout, mask=mask), steps


def _select(
  found: list[episodes.Played], groups: np.ndarray, size: int
) -> episodes.Played:
  """Returns these groups of several batches, as one batch."""
  rows = (groups[:, None] * size + np.arange(size)).reshape(-1)
  per_row = [f.name for f in dataclasses.fields(record.Record)]
  per_row.remove("version")
  log = found[-1].record
  both = {
    name: np.concatenate([getattr(x.record, name) for x in found])[rows]
    for name in per_row
  }
  # Segments name rows of the step table, which have moved.
  turns = log.reward.shape[1]
  offset = (np.arange(len(rows)) * turns)[:, None]
  inside = both["segment"] >= 0
  both["segment"] = np.where(inside, both["segment"] % turns + offset, -1)
  both["segment"] = both["segment"].astype(np.int32)
  stops = [stop for x in found for stop in x.stop]
  seconds = collections.Counter[str]()
  for x in found:
    seconds.update(x.seconds)
  return episodes.Played(
    record=dataclasses.replace(log, **both),
    success=np.concatenate([x.success for x in found])[rows],
    stop=[stops[row] for row in rows],
    parse_errors=np.concatenate([x.parse_errors for x in found])[rows],
    seconds=dict(seconds),
    rewards=found[-1].rewards,
  )
