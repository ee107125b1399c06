"""The record of a batch and its step table, by hand."""

import subprocess
import sys

import numpy as np
import pytest

from rlx import credit
from rlx.rollout import record

T = 3  # Turns at the most.


def played():
  """Three trajectories of 3, 1 and 0 steps; the first is of prompt 8."""
  log = record.Record.empty(
    np.array([8, 9, 9]), np.array([0, 0, 1]), length=12, turns=T, version=7
  )
  everyone = np.arange(3)
  log.observe(everyone, [[3, 5], [3], [3, 5, 4]])
  write(log, [0, 1, 2], [[11, 1], [12, 0], [13, 14]], [2, 1, 2])
  log.pay(0, 0.5, "a", "go", "b")
  log.pay(1, 2.0, "a", "stay", "a")
  log.pay(2, 9.0, "z", "go", "z")
  log.drop(2)
  log.observe(np.array([0]), [[5, 6, 7]])
  write(log, [0], [[15, 0]], [1])
  log.pay(0, 0.0, "b", "stay", "b")
  log.observe(np.array([0]), [[5]])
  write(log, [0], [[16, 17]], [2])
  log.pay(0, -1.0, "b", "go", "c")
  return log


def write(log, rows, tokens, length):
  tokens = np.array(tokens)
  log_probs = -tokens / 10.0
  log.act(
    np.array(rows), tokens, log_probs, log_probs - 1, np.array(length, np.int32)
  )


def test_tokens_are_appended_in_order_and_masked_where_nothing_was_chosen():
  rollout = played().rollout()
  chosen, said = True, False
  assert rollout.tokens[0, :11].tolist() == [
    3,
    5,
    11,
    1,
    5,
    6,
    7,
    15,
    5,
    16,
    17,
  ]
  assert rollout.mask[0].tolist() == [
    *[said] * 2,
    *[chosen] * 2,
    *[said] * 3,
    *[chosen, said, chosen, chosen, False],
  ]
  assert rollout.valid.sum(1).tolist() == [11, 2, 5]
  assert (rollout.version == 7).all()
  # What was not written of a turn is nowhere: token 0 of row 1 is no token.
  assert rollout.mask[1].tolist() == [False, True] + [False] * 10


def test_log_probs_stand_on_their_tokens_and_are_0_elsewhere():
  rollout = played().rollout()
  live = rollout.mask
  np.testing.assert_allclose(
    rollout.log_probs[live], -rollout.tokens[live] / 10
  )
  np.testing.assert_allclose(
    rollout.raw_log_probs[live], -rollout.tokens[live] / 10 - 1
  )
  assert (rollout.log_probs[:2][~live[:2]] == 0).all()


def test_segments_name_rows_of_the_step_table():
  segment = played().rollout().segment
  assert segment[0].tolist() == [-1, -1, 0, 0, -1, -1, -1, 1, -1, 2, 2, -1]
  assert segment[1].tolist() == [-1, T] + [-1] * 10
  assert (segment[2] == -1).all()


def test_the_step_table_is_the_one_written_by_hand():
  steps = played().steps()
  key = record.key
  want = {
    "prompt": [8, 8, 8, 9, 9, 9, 9, 9, 9],
    "trajectory": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "index": [0, 1, 2] * 3,
    "depth": [0, 1, 2] * 3,
    "parent": [-1, 0, 1] + [-1] * 6,
    "reward": [0.5, 0, -1, 2, 0, 0, 0, 0, 0],
    "outcome": [-0.5] * 3 + [2] + [0] * 5,
    "continues": [1, 1, 0] + [0] * 6,
    "vote": [1 / 3] * 3 + [1] + [0] * 5,
    "weight": [1] * 4 + [0] * 5,
  }
  for name, values in want.items():
    np.testing.assert_allclose(getattr(steps, name), values, err_msg=name)
  assert steps.state[:4].tolist() == [key(x) for x in ("a", "b", "b", "a")]
  assert steps.next_state[:4].tolist() == [key(x) for x in ("b", "b", "c", "a")]
  assert steps.action[:4].tolist() == [
    key(x) for x in ("go", "stay", "go", "stay")
  ]


def test_estimators_read_it_as_episodes():
  steps = played().steps()
  returns, _ = credit.advantages(credit.returns(0.5), (), steps)
  # 0.5 + 0.5 (0 + 0.5 · -1), 0.5 · -1, -1, and 2 alone.
  np.testing.assert_allclose(returns, [0.25, -0.5, -1, 2, 0, 0, 0, 0, 0])


def test_the_outcome_is_what_was_paid_for_steps_that_are_there():
  assert played().outcome().tolist() == [-0.5, 2.0, 0.0]


def test_two_prompts_with_one_state_have_one_key_and_two_groups():
  steps = played().steps()
  assert steps.state[0] == steps.state[3]
  assert steps.prompt[0] != steps.prompt[3]


KEYS = (
  "cell 3",
  ("turn", 3),
  ("turn", "3"),
  3,
  -1.5,
  None,
  "\ud800",
  frozenset({"a", "b", "c", "d"}),
  ("at", frozenset({"lamp", "door"}), (1, 2)),
)
PROGRAM = """
import sys
from rlx.rollout import record
print([record.key(x) for x in eval(sys.argv[1])])
"""


def test_keys_are_the_same_in_every_process():
  mine = [record.key(x) for x in KEYS]
  assert len(set(mine)) == len(KEYS)
  assert all(0 <= x < 2**31 for x in mine)
  for seed in ("1", "2"):
    found = subprocess.run(
      [sys.executable, "-c", PROGRAM, ascii(KEYS)],
      env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
      capture_output=True,
      text=True,
      check=True,
    )
    assert found.stdout.strip() == str(mine)


def test_numbers_of_numpy_are_numbers():
  assert record.key(np.int64(3)) == record.key(3)
  assert record.key((np.float32(0.5), "a")) == record.key((0.5, "a"))


def test_an_object_told_by_its_address_is_no_key():
  with pytest.raises(ValueError, match="address"):
    record.key(("at", object()))
