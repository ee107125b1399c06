"""Trees that grow where it is uncertain, and are cut where it is hopeless."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rlx import recipes
from rlx.rollout import branching, segments, values, verbs
from rlx.rollout.plans import tree
from tests.rollout import simulator
from tests.rollout import test_plans_tree as trees
from tests.rollout import test_verbs as real

settings = hypothesis.settings(max_examples=40, deadline=None)
SCORES = st.lists(st.floats(0, 10), max_size=8)


@settings
@hypothesis.given(SCORES, st.integers(0, 30), st.integers(0, 9))
def test_all_children_are_dealt_out_and_the_uncertain_have_more(
  scores, total, most
):
  score = np.array(scores)
  count = branching.deal(score, total, most)
  assert count.sum() == min(total, most * len(score))
  assert (count <= most).all()
  if total >= len(score) and most:
    assert (count >= 1).all()
  for one, other in zip(*np.triu_indices(len(score), 1), strict=True):
    if score[one] > score[other]:
      assert count[one] >= count[other]


def test_children_are_dealt_out_by_the_rule_of_dhondt():
  got = branching.deal(np.array([1.0, 3.0, 0.0]), 7, 9)
  np.testing.assert_array_equal(got, [1, 5, 1])
  np.testing.assert_array_equal(branching.deal(np.ones(3), 2, 9), [1, 1, 0])


def test_the_worthiest_are_kept_and_those_not_worth_it_never():
  worth = np.array([0.5, np.nan, 0.5, 0.0, 1.0])
  keep = lambda *x: np.flatnonzero(branching.prune(worth, *x)).tolist()
  assert keep(2) == [0, 4]
  assert keep(0) == [0, 1, 2, 3, 4]
  assert keep(0, 0.1) == [0, 2, 4]
  assert keep(2, 0.7) == [4]


CHANCE = {"": 0.5, "r": 0.99, "l": 0.5}


def chance(text):
  """Behind r it is nearly certain what comes, behind l it is not."""
  likely = CHANCE[text[-1:]]
  return {"l": 1 - likely, "r": likely}


def test_the_uncertain_have_more_children():
  world = simulator.Simulator(trees.score, chance=chance, longest=9, prompts=2)
  how = branching.Branching(uncertain=True)
  plan = tree.tree((3, 3, 3), segment_tokens=3, branching=how)
  played = trees.collect(plan, world)
  log = played.record
  assert [sum(x) for x in trees.counts(log)] == [3 + 9 + 27] * 2
  parent = log.columns["parent"][:, 0]
  rows = np.flatnonzero(log.columns["depth"][:, 0] == 1)
  score = branching.surprise(log, rows.tolist())
  num = np.array([(parent == row).sum() for row in rows])
  assert num[score.argmax()] > num[score.argmin()]
  # A few numbers of children are drawn at once.
  assert {call[1] for call in world.calls[1:]} <= {1, 2, 4, 8}


def test_what_never_succeeds_is_not_gone_on_with():
  """All that begins with l fails; probes find that, and it costs one call."""
  wins = lambda text: float(text.startswith("r"))
  fair = lambda text: {"l": 0.5, "r": 0.5} if len(text) < 3 else {".": 1.0}
  world = simulator.Simulator(wins, chance=fair, longest=4)
  how = branching.Branching(worth=branching.probes(2), least=0.1)
  plan = tree.tree((4, 2), segment_tokens=1, branching=how)
  log = trees.collect(plan, world).record
  live = log.turns > 0
  said = [
    world.said(log.tokens[row, : log.length[row]])
    for row in np.flatnonzero(live)
  ]
  assert said
  assert all(text.startswith("r") for text in said)
  assert [call[1] for call in world.calls] == [4, 2, 2]


def test_of_open_nodes_only_so_many_go_on():
  fair = lambda text: {"l": 0.5, "r": 0.5}
  world = simulator.Simulator(trees.score, chance=fair, longest=6)
  how = branching.Branching(keep=2)
  played = trees.collect(tree.tree((4, 4, 4), branching=how), world)
  # Two of four, with four children each, of which two: 2 + 2 + 8.
  assert trees.counts(played.record)[0] in ([1, 2, 8], [2, 2, 8])


def test_a_tree_keeps_to_its_tokens():
  fair = lambda text: {"l": 0.5, "r": 0.5}
  world = simulator.Simulator(trees.score, chance=fair, longest=6)
  # The last level goes on to the end, which may be six tokens.
  how = branching.Branching(tokens=4 * 2 + 16 * 2 + 20 * 6)
  plan = tree.tree((4, 4, 4), segment_tokens=2, branching=how)
  played = trees.collect(plan, world)
  assert trees.counts(played.record) == [[4, 16, 20]] * 2


def test_a_node_ends_where_it_was_uncertain():
  world = simulator.Simulator(trees.score, chance=chance, longest=8)
  do = world.verbs()
  begun = do.start([7, 8], [0, 1])
  cuts = [verbs.Cut(row, 3) for row in range(2)]
  found = do.continue_from(begun, cuts, 6, max_tokens=5)
  likely = np.exp(found.record.raw_log_probs[:, 3:8])
  at = segments.cut(0.9, 1)
  cut = branching.cut_back(found, [3] * 12, at, do.tokenizer).record
  for row in range(12):
    ends = [n for n in range(1, 5) if likely[row, n] < 0.9] or [5]
    assert cut.length[row] == 3 + ends[-1]
    assert cut.mask[row].sum() == ends[-1]
    assert not cut.tokens[row, cut.length[row] :].any()
  # And so it is in a tree, whose nodes differ in length.
  how = branching.Branching(at=at)
  plan = tree.tree((3, 2), segment_tokens=4, branching=how)
  log = trees.collect(plan, world).record
  inner = (log.turns > 0) & (log.columns["depth"][:, 0] == 0)
  assert len(set(log.mask[inner].sum(1).tolist())) > 1


def test_values_of_all_boundaries_are_one_call():
  wins = lambda text: float(text.count("r"))
  fair = lambda text: {"l": 0.5, "r": 0.5} if len(text) < 4 else {".": 1.0}
  world = simulator.Simulator(wins, chance=fair)
  do = world.verbs()
  one = do.sample([7, 8], [0, 1])
  cuts = [verbs.Cut(row, 3 + n) for row in range(4) for n in range(5)]
  found = values.values(do, one, cuts, 200)
  assert len(world.calls) == 1
  for (row, length), mean in zip(cuts, found.mean, strict=True):
    said = world.said(one.record.tokens[row, :length])
    want = said.count("r") + (4 - len(said)) / 2
    assert mean == pytest.approx(want, abs=0.3)
  assert (found.number == 200).all()
  np.testing.assert_allclose(found.deviation[::5], 1.0, atol=0.2)
  np.testing.assert_allclose(found.deviation[4::5], 0.0)
  assert len(values.values(do, one, [], 3).mean) == 0


def test_it_runs_on_the_real_verbs():
  do, _ = real.bind(real.TASK)
  how = branching.Branching(
    uncertain=True, keep=2, worth=branching.probes(2), at=segments.cut(0.9, 1)
  )
  plan = tree.tree((2, 2), segment_tokens=2, branching=how)
  played = plan.collect(do, [7, 8], [0, 1], ())[0]
  assert played.record.turns.any()
  with pytest.raises(ValueError, match="keep=-1, tokens=0: must be 0 or more"):
    tree.tree((2,), branching=branching.Branching(keep=-1))
  with pytest.raises(ValueError, match="probes=0: must be 1 or more"):
    branching.probes(0)


@pytest.mark.parametrize("method", [recipes.spo_tree, recipes.branch_grpo])
@pytest.mark.parametrize(
  ("setting", "want"),
  [
    ({}, {(3, 9, 27)}),
    ({"uncertain": True}, {(3, 9, 27)}),
    # One of three goes on, then one of its three.
    ({"keep_open": 1}, {(1, 1, 3)}),
    # Behind the first levels, 3 and 9 nodes of two tokens, that is one child.
    ({"budget": (3 + 9) * 2 + 9 * 9}, {(3, 9, 9)}),
  ],
  ids=["even", "uncertain", "keep_open", "budget"],
)
def test_a_recipe_says_how_its_tree_branches(method, setting, want):
  fair = lambda text: {"l": 0.5, "r": 0.5}
  how = chance if "uncertain" in setting else fair
  world = simulator.Simulator(trees.score, chance=how, longest=9)
  made = method(branches="3,3,3", segment_tokens=2, **setting)
  log = trees.collect(made.plan, world).record
  assert {tuple(x) for x in trees.counts(log)} <= want
  parent, depth = (log.columns[x][:, 0] for x in ("parent", "depth"))
  of = [(parent == row).sum() for row in np.flatnonzero(depth == 1)]
  uneven = len({n for n in of if n}) > 1
  assert uneven == ("uncertain" in setting)
