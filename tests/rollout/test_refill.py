"""Dynamic sampling: dead groups are replaced, at a bounded cost."""

from typing import Any

import numpy as np
import pytest

from rlx.rollout import config, played, record, refill

G, T, L = 2, 2, 6


def sampler(outcomes, stops=None):
  """A rollout whose group of prompt i has `outcomes(i)`, and what it was asked.

  Each member takes one step, or two where its outcome is negative, and writes
  its prompt, its number and its turn.
  """
  asked = []

  def sample(params, prompt_ids, indices, version, memory):
    assert prompt_ids == indices
    asked.append(list(prompt_ids))
    rows = np.arange(len(prompt_ids) * G)
    log = record.Record.empty(
      np.repeat(prompt_ids, G), rows % G, length=L, turns=T, version=version
    )
    for row in rows:
      paid = outcomes(prompt_ids[row // G])[row % G]
      turns = 2 if paid < 0 else 1
      for turn in range(turns):
        tokens = np.array([[prompt_ids[row // G], row % G, turn]])
        log.act(rows[row : row + 1], tokens, -tokens, -tokens, np.array([3]))
        log.pay(int(row), paid / turns, prompt_ids[row // G], turn, 0)
    found = played.Played(
      record=log,
      success=log.outcome() > 0,
      stop=[
        (stops or {}).get(i, "completed") for i in prompt_ids for _ in "ab"
      ],
      parse_errors=rows.astype(np.int32),
      seconds={"sample": 1.0},
      rewards={"rewards/x/mean": float(len(asked))},
    )
    return found, memory + 1

  return sample, asked


def settings(**fields):
  return config.RolloutConfig(num_prompts=3, group_size=G, **fields)


ALIVE, DEAD, LONG = (0, 1), (1, 1), (-1, 1)


def collect(outcomes, cursor=10, **fields):
  sample, asked = sampler(outcomes)
  found, after, memory = refill.collect(
    settings(**fields), sample, None, cursor, 0, version=5
  )
  assert memory == len(asked)  # Each rollout was handed what the last left.
  return found, after, asked


def test_without_the_filter_a_step_is_one_rollout():
  found, cursor, asked = collect(lambda i: DEAD)
  assert asked == [[10, 11, 12]]
  assert cursor == 13
  assert found.rewards == {"rewards/x/mean": 1.0}


def test_living_groups_replace_dead_ones_in_order_of_arrival():
  alive = {10: False, 11: True, 12: False, 13: False, 14: True, 15: True}
  found, cursor, asked = collect(
    lambda i: ALIVE if alive[i] else DEAD, filter_groups=True
  )
  assert asked == [[10, 11, 12], [13, 14, 15]]
  assert cursor == 16
  assert found.record.prompt.tolist() == [11, 11, 14, 14, 15, 15]
  assert found.record.sample.tolist() == [0, 1] * 3
  assert found.success.tolist() == [False, True] * 3
  assert found.parse_errors.tolist() == [2, 3, 2, 3, 4, 5]


def test_what_it_cost_is_told():
  found, _, _ = collect(
    lambda i: ALIVE if i in (11, 14, 15) else DEAD, filter_groups=True
  )
  # Before filtering: three groups of mean 1/2 and three of mean 1.
  assert found.rewards["reward_before_filter"] == pytest.approx(0.75)
  assert found.rewards["refill/rollouts"] == 2
  assert found.rewards["refill/dropped"] == pytest.approx(0.5)
  assert found.seconds == {"sample": 2.0}


def test_refills_are_bounded_and_the_dead_fill_the_shape():
  found, cursor, asked = collect(
    lambda i: ALIVE if i == 15 else DEAD, filter_groups=True, max_refills=2
  )
  assert len(asked) == 3
  assert cursor == 19
  assert found.record.prompt[::2].tolist() == [15, 10, 11]


def test_without_refills_nothing_more_is_sampled():
  _, cursor, asked = collect(lambda i: DEAD, filter_groups=True, max_refills=0)
  assert len(asked) == 1
  assert cursor == 13


def test_what_is_over_is_not_kept_for_later():
  found, cursor, _ = collect(
    lambda i: DEAD if i == 10 else ALIVE, filter_groups=True
  )
  assert found.record.prompt[::2].tolist() == [11, 12, 13]
  assert cursor == 16


def test_segments_follow_their_rows():
  found, _, _ = collect(
    lambda i: LONG if i in (11, 14, 15) else DEAD, filter_groups=True
  )
  log = found.record
  rollout, steps = log.rollout(), log.steps()
  for row in range(6):
    inside = rollout.segment[row] >= 0
    np.testing.assert_array_equal(inside, rollout.mask[row])
    step = rollout.segment[row][inside]
    # The second and third token written are the member and the turn.
    assert (steps.trajectory[step] == row).all()
    assert (steps.index[step][2::3] == rollout.tokens[row][inside][2::3]).all()
    assert (steps.weight[step] == 1).all()
    assert {*steps.state[step].tolist()} == {record.key(int(log.prompt[row]))}


def train_on(outcomes, stops=None, **fields):
  sample, _ = sampler(outcomes, stops)
  found, *_ = refill.collect(settings(**fields), sample, None, 10, 0, version=0)
  return found, *refill.train_on(settings(**fields), found)


def test_dead_groups_leave_the_loss_and_nothing_else():
  found, rollout, steps = train_on(
    lambda i: ALIVE if i == 11 else DEAD, filter_groups=True, max_refills=0
  )
  np.testing.assert_array_equal(found.record.prompt[::2], [11, 10, 12])
  np.testing.assert_array_equal(rollout.mask.any(1), [True] * 2 + [False] * 4)
  np.testing.assert_array_equal(steps.weight, found.record.steps().weight)
  assert found.record.mask.any(1).all()  # Metrics still see them.


def test_without_the_filter_dead_groups_stay_in_the_loss():
  _, rollout, _ = train_on(lambda i: DEAD)
  assert rollout.mask.any(1).all()


def test_what_ran_into_a_limit_leaves_the_loss_if_asked_to():
  stops = {10: "max_turns", 11: "stop", 12: "max_tokens"}
  _, rollout, steps = train_on(lambda i: ALIVE, stops)
  assert rollout.mask.any(1).all()
  _, rollout, masked = train_on(lambda i: ALIVE, stops, mask_truncated=True)
  np.testing.assert_array_equal(
    rollout.mask.any(1), [False, False, True, True, False, False]
  )
  # It still counts in the baseline.
  np.testing.assert_array_equal(masked.weight, steps.weight)


@pytest.mark.parametrize(
  "name", ["num_prompts", "group_size", "max_prompt_length", "max_turn_length"]
)
def test_a_rollout_of_nothing_is_refused(name):
  nothing: dict[str, Any] = {name: 0}
  with pytest.raises(ValueError, match=f"rollout.{name}=0: must be 1 or more"):
    config.RolloutConfig(**nothing)


def test_refills_are_not_negative():
  with pytest.raises(ValueError, match="rollout.max_refills=-1"):
    config.RolloutConfig(max_refills=-1)
