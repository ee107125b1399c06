"""Trees, on a simulator in which everything is known."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rlx.rollout import engine
from rlx.rollout.plans import tree
from tests.rollout import simulator
from tests.rollout import test_verbs as real

settings = hypothesis.settings(max_examples=10, deadline=None)
IDS = [7, 8]


def score(text):
  return text.count("r") + 10.0


def collect(plan, world, seen=None):
  played, _ = plan.collect(world.verbs(), IDS, [0, 1], ())
  size = plan.size(world.shape)
  log = played.record
  assert log.tokens.shape == (size.rows, size.length)
  assert log.reward.shape == (size.rows, 1) == (size.rows, size.turns)
  check(log, played, world)
  return played


def check(log, played, world):
  """What holds of every forest."""
  parent, depth = log.columns["parent"][:, 0], log.columns["depth"][:, 0]
  live = log.turns > 0
  inner = set(parent[live].tolist()) - {-1}
  assert not log.mask[~live].any()
  assert not played.whole[~live].any()
  for row in np.flatnonzero(live).tolist():
    begin = len(simulator.PROMPT)
    if parent[row] >= 0:
      above = parent[row]
      assert above < row
      assert live[above]
      assert depth[row] == depth[above] + 1
      begin = log.length[above]
      for name in ("tree",):
        assert log.columns[name][row] == log.columns[name][above]
      assert log.prompt[row] == log.prompt[above]
      np.testing.assert_array_equal(
        log.tokens[row, :begin], log.tokens[above, :begin]
      )
    else:
      assert depth[row] == 0
    assert not log.mask[row, :begin].any()
    assert log.mask[row, begin]
    np.testing.assert_array_equal(
      log.segment[row], np.where(log.mask[row], row, -1)
    )
    assert played.whole[row] == (row not in inner)
    assert (played.stop[row] == "cut") == (row in inner)
    chosen = log.raw_log_probs[row, log.mask[row]].sum()
    assert log.columns["segment_log_prob"][row] == pytest.approx(chosen)
    if played.whole[row] and world.shape.turns == 1:
      text = world.said(log.tokens[row, : log.length[row]])
      assert log.columns["outcome"][row] == world.score(text) == log.reward[row]


def counts(log):
  """Live rows of each prompt and depth."""
  live = log.turns > 0
  return [
    np.bincount(log.columns["depth"][live & (log.prompt == prompt), 0]).tolist()
    for prompt in IDS
  ]


def test_a_tree_has_a_row_for_every_edge():
  long = lambda text: {"l": 0.5, "r": 0.5}
  world = simulator.Simulator(score, chance=long)
  plan = tree.tree((2, 3), segment_tokens=2)
  played = collect(plan, world)
  assert plan.size(world.shape).rows == 2 * (2 + 6)
  assert counts(played.record) == [[2, 6]] * 2
  # The first level ends after two tokens, the last goes on.
  np.testing.assert_array_equal(
    played.record.mask.sum(1), np.tile([2, 2, *[4] * 6], 2)
  )
  assert [call[1:] for call in world.calls] == [(2, 2, None), (3, None, None)]
  assert played.seconds == {"sample": 2.0}


def test_a_completion_that_is_too_short_is_divided_evenly():
  world = simulator.Simulator(score, longest=5)
  collect(tree.tree((2, 2), segment_tokens=600), world)
  assert [call[2] for call in world.calls] == [3, None]


@settings
@hypothesis.given(
  st.integers(0, 2**32 - 1),
  st.lists(st.integers(1, 3), min_size=1, max_size=3),
  st.integers(1, 2),
  st.booleans(),
)
def test_ragged_trees_keep_their_layout(seed, branches, trees, episode):
  turns = 3 if episode else 1
  world = simulator.Simulator(score, turns=turns, seed=seed)
  plan = tree.tree(branches, segment_tokens=1, trees=trees)
  played = collect(plan, world)
  log = played.record
  table = log.steps()
  assert len(np.unique(log.columns["tree"][log.turns > 0])) == 2 * trees
  # Outcomes are totals over paths.
  for row in np.flatnonzero(log.turns).tolist():
    path = [row]
    while table.parent[path[-1]] >= 0:
      path.append(int(table.parent[path[-1]]))
    want = log.reward[path].sum()
    assert float(table.outcome[row]) == pytest.approx(want)


def test_what_ends_early_is_a_leaf_where_it_ended():
  chance = lambda text: {".": 0.5, "r": 0.5}
  world = simulator.Simulator(score, chance=chance, seed=1)
  played = collect(tree.tree((3, 3), segment_tokens=1), world)
  depth = played.record.columns["depth"][:, 0]
  early = played.whole & (depth == 0)
  assert early.any()
  assert all(played.stop[row] == "stop" for row in np.flatnonzero(early))


def test_a_tree_of_one_level_is_a_group_of_samples():
  world = simulator.Simulator(score)
  played = collect(tree.tree((4,), segment_tokens=1), world)
  assert played.whole is not None
  assert played.whole.all()
  assert "cut" not in played.stop
  assert (played.record.columns["parent"] == -1).all()


def test_episodes_go_on_to_their_end_behind_the_last_fork():
  world = simulator.Simulator(
    lambda text: 1.0, chance=lambda text: {"l": 0.5, "r": 0.5}, turns=4
  )
  played = collect(tree.tree((2, 2)), world)
  assert counts(played.record) == [[2, 4, 4, 4]] * 2
  assert set(np.asarray(played.stop)[played.whole]) == {"max_turns"}
  outcome = played.record.columns["outcome"][:, 0]
  np.testing.assert_array_equal(outcome[played.whole], 4)
  assert {call[2:] for call in world.calls} == {(None, 1)}


def test_forks_keep_as_many_trajectories_as_were_asked_for():
  world = simulator.Simulator(
    lambda text: 1.0,
    chance=lambda text: {"l": 0.5, "r": 0.5},
    samples=5,
    turns=4,
  )
  played = collect(tree.forks(2), world)
  assert counts(played.record) == [[2, 4, 5, 5]] * 2
  assert tree.forks(2).size(world.shape).rows == 2 * 16


@settings
@hypothesis.given(
  st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 3)
)
def test_there_are_never_more_trajectories_or_forks(seed, num, fan_out):
  world = simulator.Simulator(score, turns=3, seed=seed, samples=num)
  played = collect(tree.forks(fan_out), world)
  log = played.record
  live = log.turns > 0
  parent = log.columns["parent"][live, 0]
  for prompt in IDS:
    ended = np.flatnonzero(played.whole & (log.prompt == prompt))
    assert 1 <= len(ended) <= num
    if fan_out == 1:
      assert len(ended) == num
  children = np.bincount(parent[parent >= 0], minlength=1)
  assert children.max() <= fan_out
  if fan_out == 1:  # Independent trajectories, none of which has a sibling.
    top = log.columns["tree"][live, 0][parent < 0]
    assert len(np.unique(top)) == len(top)


def test_a_completion_has_one_step_and_its_forks_are_samples():
  world = simulator.Simulator(score, samples=5)
  assert counts(collect(tree.forks(2), world).record) == [[5]] * 2


def test_a_node_none_of_whose_children_could_be_played_is_left_out():
  world = simulator.Simulator(
    score, chance=lambda text: {"l": 0.5, "r": 0.5}, turns=3, seed=3
  )
  world.fails = lambda text: text[:2] == "ll" or text == "rl"
  played = collect(tree.tree((3, 2)), world)
  live = np.flatnonzero(played.record.turns)
  texts = [
    world.said(played.record.tokens[row, : played.record.length[row]])
    for row in live
  ]
  assert texts
  assert not any(text[:2] in ("ll", "rl") for text in texts)
  # Where nothing could be played there is no row at all.
  world.fails = lambda text: True
  played = collect(tree.tree((3, 2)), world)
  assert not played.record.turns.any()


def test_a_tree_deeper_than_the_credit_reaches_is_refused():
  shape = engine.Shape(2, 2, 3, 3, 2, 5)
  tree.tree((2,), max_depth=4).size(shape)
  with pytest.raises(ValueError, match="5 levels is deeper than max_depth=3"):
    tree.tree((2,), max_depth=3).size(shape)


def test_branches_are_written_with_commas():
  assert tree.parse("6, 6,2") == tree.parse("6-6-2") == (6, 6, 2)
  for wrong in ("", "2,0", "2,,2", "two"):
    with pytest.raises(ValueError, match="branches="):
      tree.parse(wrong)
  with pytest.raises(ValueError, match="branches=0"):
    tree.tree(())
  with pytest.raises(ValueError, match="fan_out=0"):
    tree.forks(0)


@pytest.mark.parametrize(
  "task", [real.TASK, real.Walk()], ids=["text", "turns"]
)
def test_it_runs_on_the_real_verbs(task):
  do, _ = real.bind(task)
  plan = tree.tree((2, 2), segment_tokens=1)
  played = plan.collect(do, [7, 8], [0, 1], ())[0]
  size = plan.size(do.shape)
  assert played.record.tokens.shape == (size.rows, size.length)
  assert played.whole is not None
  assert played.whole.any()
  steps = played.record.steps()
  assert np.isfinite(steps.outcome).all()
