"""What the sums of the ledger are made of, checked by other means."""

import jax
import numpy as np
import pytest

from rlx.ledger import batches, episodes, evidence, forests, mdps, truth


@pytest.fixture(scope="module")
def cases():
  with jax.enable_x64(True):
    return batches.every_case()


def pick(cases, name):
  return next(case for case in cases if case.name == name)


def test_probabilities_of_episodes_and_of_batches_sum_to_one(cases):
  for case in cases:
    known = case.known
    for prompt in set(known.listed.prompt):
      own = known.listed.prompt == prompt
      assert known.probability[own].sum() == pytest.approx(1, abs=1e-12)
  with jax.enable_x64(True):
    for drawn in (
      batches.batches(cases, ["length"]),
      forests.forests(cases, ["length"]),
    ):
      total = np.bincount(drawn.case, drawn.probability)
      np.testing.assert_allclose(total, 1, atol=1e-12)


def test_the_true_gradient_is_that_of_the_score_function(cases):
  for case in cases:
    known = case.known
    worth = known.probability * known.listed.outcome
    total = np.tensordot(worth, known.score.sum(1), 1)
    total = total / len(known.listed.mdp.starts)
    np.testing.assert_allclose(known.gradient, total, atol=1e-14)


def test_the_true_gradient_of_one_choice(cases):
  known = pick(cases, "stop_or_continue/tilted/2").known
  p = 1 / (1 + np.exp(0.7 + 0.5))
  np.testing.assert_allclose(
    known.gradient[0], [-p * (1 - p), p * (1 - p), 0], atol=1e-14
  )
  assert not known.gradient[1:].any()


def test_the_gradient_of_the_entropy_is_right(cases):
  known = pick(cases, "tokens/tilted/2").known
  theta = truth.LOGITS["tilted"][0]

  def entropy(x):
    p = np.exp(x) / np.exp(x).sum()
    return -(p * np.log(p)).sum()

  step = 1e-6 * np.eye(3)
  want = [(entropy(theta + h) - entropy(theta - h)) / 2e-6 for h in step]
  assert known.entropy[0, 0] == pytest.approx(entropy(theta))
  np.testing.assert_allclose(known.entropy_score[0, 0, 0], want, atol=1e-8)


def test_values_are_those_of_dynamic_programming(cases):
  known = pick(cases, "tree/even/2").known
  rich, poor = 0.5 * 1 + 0.5 * 0.3, 0.5 * 0.2
  left = 0.7 * rich + 0.3 * poor
  right = 0.4 + 0.2 * rich + 0.8 * poor
  for n, episode in enumerate(known.listed.episodes):
    first, second = episode.steps
    after = first.reward + (rich if second.state == "rich" else poor)
    assert known.before[n, 0] == pytest.approx((left + right) / 2)
    assert known.after[n, 0] == pytest.approx(after)
    assert known.before[n, 1] == pytest.approx(after)
    assert known.after[n, 1] == pytest.approx(known.listed.outcome[n])
    assert known.to_go[n, 1] == pytest.approx(after - first.reward)


def test_exact_changes_add_up_to_the_outcome(cases):
  for case in cases:
    total = evidence.progress(case.known).sum(1)
    np.testing.assert_allclose(total, case.known.listed.outcome, atol=1e-12)


def test_the_optimal_action_is_found(cases):
  known = pick(cases, "stop_or_continue/even/2").known
  stops, goes = evidence.optimal(known)
  assert (stops[0], goes[0]) == (0, 1)


def test_implicit_rewards_are_log_ratios_of_policies(cases):
  known = pick(cases, "stop_or_continue/tilted/2").known
  reward = evidence.implicit(known)
  best = known.probability * np.exp(reward[:, 0] / evidence.BETA)
  assert best.sum() == pytest.approx(1)
  # Going on earns 1 more: so much likelier is it, in the best policy.
  likelier = best[1] / best[0] / (known.probability[1] / known.probability[0])
  assert likelier == pytest.approx(np.exp(1 / evidence.BETA))
  assert reward[1, 1] == pytest.approx(0)  # There is no choice.


def test_multisets_have_the_probabilities_of_independent_draws():
  found = dict(batches.multisets([0.2, 0.8], 3))
  assert found[(0, 1, 1)] == pytest.approx(3 * 0.2 * 0.8**2)
  assert sum(found.values()) == pytest.approx(1)


def test_trees_are_rows_that_know_their_parents(cases):
  case = pick(cases, "chain/even/2")
  with jax.enable_x64(True):
    table = forests.forests([case], ["length"]).table
  steps = {k: np.asarray(x) for k, x in table["steps"].items() if k != "extras"}
  live = steps["weight"] > 0
  assert (live.sum(1) == 2 + 4 + 4).all()
  batch, row = np.nonzero(live & (steps["parent"] >= 0))
  parent = steps["parent"][batch, row]
  assert (steps["depth"][batch, row] == steps["depth"][batch, parent] + 1).all()
  assert (
    steps["state"][batch, row] == steps["next_state"][batch, parent]
  ).all()
  paid = steps["outcome"][batch, parent] + steps["reward"][batch, row]
  np.testing.assert_allclose(steps["outcome"][batch, row], paid, atol=1e-12)


def test_a_process_that_is_too_large_is_refused():
  ways = {"stop": (mdps.Way(1.0, 0.0, None),)}
  rules = {f"s{i}": ways for i in range(9)}
  with pytest.raises(ValueError, match="9 decisions"):
    episodes.listed(mdps.Mdp("large", "", ("s0",), rules))
