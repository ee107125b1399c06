"""Worked examples and edge cases of the evidence formulas."""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rlx.evidence import (
  csrs,
  foresight,
  overlap,
  pointing,
  routing,
  shaping,
  shapley,
)

SETS = [{0, 1}, {0}, {2}, {0, 1}]


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


def test_overlap_with_gold_and_within_the_group():
  check([overlap.iou(p, {0, 1}) for p in SETS], [1, 0.666667, 0.25, 1])
  check(overlap.consistency(SETS), [0.638889, 0.555556, 0.277778, 0.638889])


def test_overlap_of_nothing():
  assert overlap.iou([], []) == 1
  assert overlap.iou([], [], smoothing=0) == 0
  assert overlap.iou("a", "b", smoothing=0) == 0
  assert overlap.consistency([{1}]) == [0]
  assert overlap.consistency([]) == []


def test_par_is_the_mean_chance_to_beat_a_reference():
  check(shaping.par([1, 0], [[0, 2], [0, 2]]), [0.5, 0.309601])
  check(shaping.par(1.0, [0.0, 2.0]), 0.5)


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_par_rises_between_its_bounds_and_is_a_half_without_a_slope(seed):
  rng = np.random.default_rng(seed)
  r, refs = np.sort(rng.normal(size=5)), rng.normal(size=(1, 3))
  refs = np.repeat(refs, 5, 0)
  got = np.asarray(shaping.par(r, refs))
  assert (np.diff(got) >= 0).all()
  assert ((got > 0) & (got < 1)).all()
  check(shaping.par(r, refs, slope=1e-7), np.full(5, 0.5), 1e-6)


def test_the_other_shapes():
  check(shaping.mean_std([1, 0, 1, 0]), [1, -1, 1, -1])
  check(shaping.mean_std([2, 2]), [0, 0])
  check(shaping.min_max([1, 2, 5]), [0, 0.25, 1])
  check(shaping.min_max([3, 3]), [0, 0])
  check(shaping.clip([-3, 0.5, 3]), [-1, 0.5, 1])
  check(shaping.log_sigmoid_centered(1.0, [1.0]), math.log(0.5))


def test_a_reward_function_is_shaped_by_a_column_of_the_data_set():
  def length(completions):
    return [len(x) if x else None for x in completions]

  shaped = shaping.against_references(length)
  got = shaped(
    prompts=["a", "b"], completions=["x", ""], reference_rewards=[[0, 2], [1]]
  )
  check(got[0], 0.5)
  assert got[1] is None
  assert shaped.__name__ == "length_against_references"


def test_points():
  gold, tolerance = (3.0, 4.0), 2.0
  deltas = [(0, 0), (0.5, 0.5), (1, 0), (1, 1)]
  got = [
    pointing.point((3 + 2 * dx, 4 - 2 * dy), gold, tolerance)
    for dx, dy in deltas
  ]
  check(got, [1, 0.882497, 0.367879, 0.135335])


def test_boxes():
  energy = 2 * 0.5**4 + 0.5 * 2 * 0.5**4
  got = [pointing.box_score(0, 1), pointing.box_score(energy, 0.5)]
  check(got, [1, 0.763223])
  gold = pointing.Box(0, 0, 2, 2)
  assert pointing.box(gold, gold, 1.0) == 1
  # Centre .5 right, .5 wider: half of a tolerance each.
  near = pointing.Box(0.25, 0, 2.75, 2)
  want = 0.8 * math.exp(-(0.5**4 + 0.5 * 0.5**4)) + 0.2 * 3.5 / 5.5
  check(pointing.box(near, gold, 1.0), want)


def test_boxes_that_do_not_meet_or_are_empty():
  one, far = pointing.Box(0, 0, 1, 1), pointing.Box(5, 5, 6, 6)
  empty = pointing.Box(1, 1, 1, 1)
  assert pointing.iou(one, far) == 0
  assert pointing.iou(empty, empty) == 0
  assert pointing.box(one, far, 1.0) < 1e-9
  with pytest.raises(ValueError, match="tolerance=0"):
    pointing.point((0, 0), (0, 0), 0)


COALITIONS = {(0,): 0.2, (0, 1): 0.6, (0, 2): 0.4, (0, 1, 2): 1.0}


def coalition(some):
  return COALITIONS.get(tuple(sorted(some)), 0.0)


def test_shapley_and_masking():
  check(shapley.shapley(coalition, 3), [0.566667, 0.266667, 0.166667])
  check(shapley.leave_one_out(coalition, 3), [1, 0.6, 0.4])
  assert shapley.shapley(lambda _: 1.0, 0) == []


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_shapley_values_sum_to_what_all_add_to_nobody(agents, seed):
  rng = np.random.default_rng(seed)
  value = {
    frozenset(some): rng.normal()
    for n in range(agents + 1)
    for some in itertools.combinations(range(agents), n)
  }
  phi = shapley.shapley(value.__getitem__, agents)
  everyone = frozenset(range(agents))
  check(sum(phi), value[everyone] - value[frozenset()])
  # Of one order of joining each, averaged over all orders.
  orders = list(itertools.permutations(range(agents)))
  want = np.zeros(agents)
  for order in orders:
    for at, agent in enumerate(order):
      some = frozenset(order[:at])
      want[agent] += value[some | {agent}] - value[some]
  check(phi, want / len(orders))


def test_a_sum_of_parts_is_shared_as_it_is_made():
  parts = [0.5, 0.25, 0.0]
  value = lambda some: sum(parts[m] for m in some)
  check(shapley.shapley(value, 3), parts)
  check(shapley.leave_one_out(value, 3), parts)


def test_steps_that_ask_and_steps_that_answer():
  got = [
    routing.step_score(0.9, True),
    routing.step_score(0.6, False),
    routing.step_score(0.8, True),
    routing.step_score(0.9, True, well_formed=False),
  ]
  check(got, [0.95, 0.3, 0.9, 0])


@pytest.mark.parametrize(
  "answer, golds, want",
  [
    ("It is Paris, France.", ["paris"], 1),
    ("Paris", ["Paris France"], 0),
    ("one two three", ["One two three four five six!"], 0.5),
    ("a a", ["a b"], 0),
    ("big apple", ["New York", "the big apple", "Apple (big)"], 1),
    ("one two three", ["one two three four five six", "seven"], 0),
    ("", ["x"], 0),
    ("x", [""], 0),
  ],
)
def test_an_answer_is_scored_by_its_recall(answer, golds, want):
  assert routing.answer_score(answer, golds) == want


def test_an_answer_needs_something_to_compare_with():
  with pytest.raises(ValueError, match="golds is empty"):
    routing.answer_score("x", [])


def test_foresight():
  got = [
    foresight.foresight(True, 1, 0.5),
    foresight.foresight(True, 0, 0.5),
    foresight.foresight(False, 0, 0),
    foresight.foresight(True, 1, 1),
    foresight.foresight(True, [1, 0], 0),
    foresight.foresight(True, [], 0),
  ]
  check(got, [0.85, 0.25, 0, 1, 0.4, 0.1])


def test_what_a_failed_trajectory_still_teaches():
  assert csrs.kept(True) == csrs.KINDS
  assert set(csrs.KINDS) - set(csrs.kept(False)) == {"action prediction"}
