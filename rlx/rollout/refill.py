"""Dynamic sampling: groups without signal are left out and others sampled.

DAPO's filter, with a bound on what it may cost. Shapes stay fixed: a step always
has `num_prompts` groups, and those that are still dead after the last refill
stay, without a loss.

Source: Yu et al. 2025, arXiv:2503.14476, section 3.2.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from rlx import batch
from rlx.rollout import config as configs
from rlx.rollout import played as batches
from rlx.rollout import summary


def collect(
  config: configs.RolloutConfig,
  sample: Any,
  params: Any,
  cursor: int,
  memory: Any = (),
  *,
  version: int,
) -> tuple[batches.Played, int, Any]:
  """Returns a batch of groups, the cursor after its prompts, and the memory.

  Without `filter_groups` this is one rollout. With it, dead groups (equal
  outcomes) are replaced by living ones of further rollouts, `max_refills` at
  the most. Metrics `refill/rollouts` and `refill/dropped` say what it cost, and
  `reward_before_filter` what the prompts were worth before.

  Args:
    sample: `(params, prompt ids, indices, version, memory) -> (Played, memory)`.
  """

  def draw():
    ids = [cursor + i for i in range(config.num_prompts)]
    found, after = sample(params, ids, ids, version, memory)
    return found, cursor + config.num_prompts, after

  played, cursor, memory = draw()
  if not config.filter_groups:
    return played, cursor, memory
  found, rollouts = [played], 1
  alive = [~summary.dead_groups(played, config.group_size)]
  while rollouts <= config.max_refills and (
    sum(x.sum() for x in alive) < config.num_prompts
  ):
    more, cursor, memory = draw()
    found.append(more)
    alive.append(~summary.dead_groups(more, config.group_size))
    rollouts += 1
  every = np.concatenate(alive)
  # The living in order of arrival, then as many dead as the shape needs.
  order = np.argsort(~every, kind="stable")[: config.num_prompts]
  reward = np.mean([x.record.outcome().mean() for x in found])
  rows = order[:, None] * config.group_size + np.arange(config.group_size)
  kept = batches.select(batches.join(found), rows.reshape(-1))
  costs = {
    "reward_before_filter": float(reward),
    "refill/rollouts": float(rollouts),
    "refill/dropped": float(1 - every.mean()),
  }
  return kept._replace(rewards={**kept.rewards, **costs}), cursor, memory


def train_on(
  config: configs.RolloutConfig, played: batches.Played
) -> tuple[batch.Rollout, batch.Steps]:
  """Returns what is learnt from: dead and truncated ones leave the loss only.

  The extra `truncated` is 1 on the steps of what ran into a limit.
  """
  rollout, steps = played.record.rollout(), played.record.steps()
  # What was cut on purpose goes on in other rows.
  limit = np.array(
    [stop not in (*batches.ENDED, "cut") for stop in played.stop]
  )
  turns = played.record.reward.shape[1]
  truncated = jnp.array(np.repeat(limit, turns), jnp.float32) * steps.weight
  steps = dataclasses.replace(
    steps, extras={**steps.extras, "truncated": truncated}
  )
  lost = np.zeros(len(played.stop), bool)
  if config.filter_groups:
    lost |= np.repeat(
      summary.dead_groups(played, config.group_size), config.group_size
    )
  if config.mask_truncated:
    lost |= limit
  # A trajectory may be several sequences.
  lost = np.repeat(lost, len(rollout.mask) // len(played.stop))
  mask = rollout.mask & ~jnp.array(lost)[:, None]
  return dataclasses.replace(rollout, mask=mask), steps
