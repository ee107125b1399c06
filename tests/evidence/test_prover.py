"""The prover learns what succeeded."""

import functools

import jax
import numpy as np

from rlx.evidence import chunks, implicit_reward, prover, second_policy
from tests.evidence import shown

WINS = [1, 0, 0, 0, 1, 0, 0, 0]


def start():
  each = prover.prover(shown.context(50), learning_rate=0.02)
  return each.init(jax.random.key(0), shown.PARAMS), jax.jit(each.update)


def test_success_becomes_likely_and_the_policy_stays():
  seen = shown.outcomes(shown.seen(), WINS)
  first, update = start()
  state, nll, columns = first, [], {}
  for _ in range(30):
    state, columns, found = update(state, seen)
    nll.append(float(found["prover/nll"].compute()))
  assert nll[-1] < 0.8 * nll[0]
  jax.tree.map(np.testing.assert_array_equal, first["params"], seen.params)
  # The column is the mean over a step's tokens, after the update.
  mask = chunks.chosen(seen.rollout, seen.steps)
  score = functools.partial(second_policy.log_probs, shown.context())
  new = jax.jit(score)(state["params"], seen.rollout, mask)
  sums = implicit_reward.step_sums(new, mask, seen.rollout, seen.steps)
  count = np.bincount(np.asarray(seen.rollout.segment)[mask], minlength=24)
  want = np.asarray(sums) / np.maximum(count, 1)
  np.testing.assert_allclose(columns["prover_log_prob"], want, atol=1e-5)


def test_without_a_success_only_the_count_changes():
  seen = shown.outcomes(shown.seen(), WINS)
  state, update = start()
  state, _, _ = update(state, seen)
  new, columns, _ = update(state, shown.outcomes(seen, np.zeros(8)))
  assert columns["prover_log_prob"].any()
  assert new.pop("count") == 2
  state.pop("count")
  jax.tree.map(np.testing.assert_array_equal, new, state)
