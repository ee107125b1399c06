"""Completions: trajectories of one step, scored as text."""

import jax
import numpy as np
import pytest

from rlx.rollout import completions, record
from tests import tiny

SHAPE = tiny.shape(turns=1, action_tokens=3, prompt_tokens=4)
PROMPTS = [[3, 5, 4], [3, 6, 6, 4], [5], [6, 5]]
ROWS = [{"prompt": str(i), "answer": i} for i in range(4)]


@pytest.fixture(scope="module")
def given():
  """What is played, and what the scoring function was given."""
  seen = {}

  def score(rows, texts, ids, truncated):
    seen.update(rows=rows, texts=texts, ids=ids, truncated=truncated)
    rewards = np.arange(16) / 2
    return completions.Scored(
      rewards, rewards > 4, {"shape": -rewards}, {"rewards/x/mean": 3.75}
    )

  played = completions.complete(
    tiny.make_engine(tiny.policy(), SHAPE),
    tiny.params(tiny.policy()),
    jax.random.key(0),
    tiny.tokenizer(),
    score,
    prompt_ids=[7, 8, 9, 30],
    prompts=PROMPTS,
    rows=ROWS,
    version=3,
  )
  return played, seen


def test_each_completion_follows_its_prompt(given):
  log = given[0].record
  assert log.prompt.tolist() == [i for i in (7, 8, 9, 30) for _ in range(4)]
  assert log.sample.tolist() == [0, 1, 2, 3] * 4
  for row in range(16):
    prompt = PROMPTS[row // 4]
    ids = given[1]["ids"][row]
    end = len(prompt) + len(ids)
    assert log.tokens[row, :end].tolist() == prompt + ids
    assert log.length[row] == end
    want = [False] * len(prompt) + [True] * len(ids)
    assert log.mask[row, :end].tolist() == want
    assert not log.mask[row, end:].any()
    assert (log.segment[row] >= 0).tolist() == log.mask[row].tolist()


def test_functions_see_text_without_the_stop_token_and_what_was_cut(given):
  played, seen = given
  assert seen["rows"] == [ROWS[row // 4] for row in range(16)]
  for row, ids in enumerate(seen["ids"]):
    ended = ids[-1] == tiny.END
    assert seen["truncated"][row] == (not ended)
    assert played.stop[row] == ("stop" if ended else "max_tokens")
    assert len(ids) == 3 or ended
    assert seen["texts"][row] == tiny.tokenizer().decode(ids)
  assert 0 < sum(seen["truncated"]) < 16


def test_a_completion_is_a_trajectory_of_one_step(given):
  played, _ = given
  steps = played.record.steps()
  np.testing.assert_allclose(steps.reward, np.arange(16) / 2)
  np.testing.assert_allclose(steps.outcome, steps.reward)
  assert (steps.weight == 1).all()
  assert (steps.continues == 0).all()
  assert played.success.tolist() == [False] * 9 + [True] * 7
  assert played.rewards == {"rewards/x/mean": 3.75}
  # All members of a group acted on the same state.
  assert set(np.asarray(steps.state).tolist()) == {record.key(0)}


def test_a_completion_is_the_same_in_a_multi_turn_engine(given):
  """The first turn of an episode whose observation is this prompt."""

  class Once:
    def reset(self, seed):
      return "l", {}

    def step(self, action):
      return "l", 0.0, True, False, {}

  class Task:
    def episode(self, index, split):
      return Once()

  shape = SHAPE._replace(num_prompts=1, turns=2)
  made = tiny.make_engine(tiny.policy(), shape)
  log = tiny.play(made, tiny.params(tiny.policy()), Task(), first=7).record
  np.testing.assert_array_equal(
    log.tokens[:, :6], given[0].record.tokens[:4, :6]
  )
