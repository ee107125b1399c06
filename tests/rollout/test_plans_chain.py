"""Chains with values, on a simulator in which everything is known."""

import numpy as np
import pytest

from rlx.rollout import segments
from rlx.rollout.plans import chain
from rlx.rollout.plans import judge as judging
from tests.rollout import simulator
from tests.rollout import test_verbs as real

FAIR = {"l": 0.5, "r": 0.5}


def fair(text):
  """Three fair coins."""
  return FAIR if len(text) < 3 else {".": 1.0}


def share(text):
  return text.count("r") / 3


def collect(plan, world):
  played, memory = plan.collect(world.verbs(), [7, 8], [0, 1], "kept")
  assert memory == "kept"
  size = plan.size(world.shape)
  assert played.record.tokens.shape == (size.rows, size.length)
  assert played.record.reward.shape == (size.rows, size.turns)
  return played


def test_values_are_means_over_continuations():
  world = simulator.Simulator(share, chance=fair)
  judge = judging.Judge(400, prompt=True)
  plan = chain.chain(segments.every(1), judge, max_steps=4)
  log = collect(plan, world).record
  np.testing.assert_array_equal(log.turns, 4)
  for row in range(4):
    text = world.said(log.tokens[row, : log.length[row]])
    for step in range(4):
      said = text[: step + 1].replace(".", "")
      want = share(said) + (3 - len(said)) / 6
      got = log.columns["value_after"][row, step]
      assert got == pytest.approx(want, abs=0.1 if len(said) < 3 else 1e-6)
    assert log.columns["value_before"][row, 0] == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(
      log.columns["value_before"][row, 1:],
      log.columns["value_after"][row, :-1],
    )
  np.testing.assert_array_equal(log.columns["tokens"], 1)
  # The two samples of a prompt share the value of the prompt.
  (cuts, n, _, _) = world.calls[0]
  assert (n, len(cuts)) == (400, 4 * 3 + 2)


def test_a_completion_is_paid_on_its_last_step_and_loses_nothing():
  world = simulator.Simulator(share, chance=fair)
  plan = chain.chain(segments.every(2), judging.Judge(1), max_steps=3)
  log = collect(plan, world).record
  np.testing.assert_array_equal(log.turns, 2)
  table = log.steps()
  assert not log.reward[:, 0].any()
  np.testing.assert_array_equal(log.reward[:, 1], log.outcome())
  outcomes = np.asarray(table.outcome).reshape(4, 3)
  np.testing.assert_array_equal(outcomes[:, 0], log.outcome())
  # Each token is of one step, in order.
  want = np.arange(4)[:, None] * 3 + [0, 0, 1, 1]
  np.testing.assert_array_equal(log.segment[:, 3:7], want)
  np.testing.assert_array_equal(log.mask, log.segment >= 0)
  # Nothing is known before the first step: it is given no gain.
  np.testing.assert_array_equal(
    log.columns["value_before"][:, 0], log.columns["value_after"][:, 0]
  )


def test_a_completion_without_a_cut_is_one_step_without_gain():
  world = simulator.Simulator(share, chance=fair)
  plan = chain.chain(segments.cut(0.1, 1), judging.Judge(9), max_steps=3)
  log = collect(plan, world).record
  np.testing.assert_array_equal(log.turns, 1)
  assert not world.calls
  for name in ("value_before", "value_after"):
    np.testing.assert_allclose(log.columns[name][:, 0], log.outcome())


def test_a_cut_at_the_prompt_gives_the_first_step_a_value_before():
  world = simulator.Simulator(share, chance=fair)
  plan = chain.chain(
    segments.cut(0.6, 2), judging.Judge(300), max_steps=4, certain=0.6
  )
  log = collect(plan, world).record
  np.testing.assert_array_equal(log.turns, 2)
  before = log.columns["value_before"][:, 0]
  np.testing.assert_allclose(before, 0.5, atol=0.1)
  assert before[0] == before[1] != log.columns["value_after"][0, 0]
  # Two coins, then one and an end that was certain.
  np.testing.assert_array_equal(log.columns["tokens"][:, :2], [[2, 1]] * 4)


def test_there_are_no_more_steps_than_there_is_room_for():
  world = simulator.Simulator(share, chance=fair)
  for most, want in ((1, 1), (2, 2), (3, 3), (9, 4)):
    plan = chain.chain(segments.every(1), judging.Judge(1), max_steps=most)
    np.testing.assert_array_equal(collect(plan, world).record.turns, want)


def test_a_continuation_that_is_cut_off_counts_nothing():
  world = simulator.Simulator(
    lambda text: 1.0, chance=lambda text: {"l": 0.5, ".": 0.5}, longest=4
  )
  plan = chain.chain(
    segments.every(1), judging.Judge(400, max_tokens=1), max_steps=2
  )
  log = collect(plan, world).record
  long = log.turns == 2
  assert long.any()
  value = log.columns["value_after"][long, 0]
  np.testing.assert_allclose(value, 0.5, atol=0.15)


def test_the_steps_of_an_episode_are_its_turns():
  """A turn of r pays 1; the value counts what was paid before it."""
  pays = lambda text: float(text.endswith("r"))
  world = simulator.Simulator(pays, chance=lambda text: FAIR, turns=3)
  judge = judging.Judge(400, prompt=True)
  plan = chain.chain(segments.every(1), judge, max_steps=9)
  log = collect(plan, world).record
  assert plan.size(world.shape).turns == 3
  paid = log.reward.cumsum(1)
  want = paid + np.array([1.0, 0.5, 0.0])
  np.testing.assert_allclose(log.columns["value_after"], want, atol=0.15)
  before = log.columns["value_before"][:, 0]
  np.testing.assert_allclose(before, 1.5, atol=0.15)
  np.testing.assert_array_equal(log.columns["tokens"], 2)


def test_environments_that_fail_leave_no_trace():
  """Of one row only; and where no continuation can be played."""
  world = simulator.Simulator(share, chance=lambda text: FAIR, turns=3)
  failed = iter([True])
  world.fails = lambda text: next(failed, False)
  inner = world.continue_from

  def broken(before, cuts, n, **settings):
    found = inner(before, cuts, n, **settings)
    found.record.turns[:n] = 0
    return found

  world.continue_from = broken
  judge = judging.Judge(3)
  plan = chain.chain(segments.every(1), judge, max_steps=9)
  log = collect(plan, world).record
  assert log.turns[0] == 0
  for name in ("value_before", "value_after", "tokens"):
    assert not log.columns[name][0].any()
  first = log.columns["value_after"][1, 0]
  assert first == log.outcome()[1]


def test_a_suffix_is_put_behind_the_prefix():
  world = simulator.Simulator(share, chance=fair, longest=8)
  plan = chain.chain(
    segments.every(2), judging.Judge(2, max_tokens=9, suffix="r r"), max_steps=3
  )
  seen = []
  inner = world.continue_from

  def spy(before, cuts, n, **settings):
    seen.extend(
      world.said(before.record.tokens[c.row, : c.length]) for c in cuts
    )
    assert not before.record.mask.any()
    return inner(before, cuts, n, **settings)

  world.continue_from = spy
  log = collect(plan, world).record
  texts = [world.said(log.tokens[b, : log.length[b]]) for b in range(4)]
  assert seen == [text[:2] + "rr" for text in texts]
  # It is not learnt from, and is no part of what was sampled.
  np.testing.assert_array_equal(log.mask.sum(1), 4)


def test_where_a_suffix_has_no_room_nothing_is_judged():
  world = simulator.Simulator(share, chance=fair, longest=4)
  judge = judging.Judge(2, suffix="r r")
  plan = chain.chain(segments.every(1), judge, max_steps=4)
  np.testing.assert_array_equal(collect(plan, world).record.turns, 2)


def test_what_makes_no_sense_is_refused():
  with pytest.raises(ValueError, match="max_steps=0"):
    chain.chain(segments.every(1), judging.Judge(1), max_steps=0)
  with pytest.raises(ValueError, match="continuations=0"):
    chain.chain(segments.every(1), judging.Judge(0), max_steps=1)


@pytest.mark.parametrize(
  "task", [real.TASK, real.Walk()], ids=["text", "turns"]
)
def test_it_runs_on_the_real_verbs(task):
  do, _ = real.bind(task)
  judge = judging.Judge(2, prompt=True, suffix="r")
  plan = chain.chain(segments.every(1), judge, max_steps=3)
  log = plan.collect(do, [7, 8], [0, 1], ())[0].record
  size = plan.size(do.shape)
  assert log.reward.shape == (size.rows, size.turns)
  steps = log.steps()
  assert np.isfinite(steps.extras["value_before"]).all()
  assert float(steps.extras["tokens"].sum()) == log.mask.sum()


def test_a_prover_judges_the_same_prefixes_under_its_own_parameters():
  """It always says r, so that all that is left to say succeeds."""
  world = simulator.Simulator(share, chance=fair)
  sure = lambda text: {"r": 1.0} if len(text) < 3 else {".": 1.0}
  other = simulator.Simulator(share, chance=sure)
  judge = judging.Judge(20, prompt=True)
  plan = chain.chain(
    segments.every(1),
    judge,
    max_steps=4,
    prover=lambda do: other.verbs(),
  )
  log = collect(plan, world).record
  assert set(plan.columns) == set(log.columns)
  assert [x[0] for x in world.calls] == [x[0] for x in other.calls]
  np.testing.assert_allclose(log.columns["prover_before"][:, 0], 1)
  for row in range(4):
    text = world.said(log.tokens[row, : log.length[row]])
    lost = np.cumsum([word == "l" for word in text]) / 3
    np.testing.assert_allclose(
      log.columns["prover_after"][row], 1 - lost, atol=1e-6
    )
