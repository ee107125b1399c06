"""Exact values are exact, and metrics say what they claim to say."""

import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest

from rlx import recipes
from rlx.commands import credit_fidelity
from rlx.fidelity import (
  arena,
  context,
  evidence,
  exact,
  figure,
  measure,
  study,
  tables,
  trees,
  world,
  worlds,
)

SIZE = arena.Size(
  groups=(2, 16), extras=(0, 4), group=16, num_prompts=2, num_batches=8
)


def tiny() -> world.Worlds:
  """Two prompts, three states, two actions, a step that is drawn, two turns."""
  rng = np.random.default_rng(0)
  transition = rng.dirichlet(np.ones(3), size=(2, 3, 2))
  transition[:, 2] = [0.0, 0.0, 1.0]
  return world.Worlds(
    name="tiny",
    transition=transition,
    terminal=np.array([[False, False, True]] * 2),
    gain=np.array([[0.0, 0.0, 1.0]] * 2),
    start=np.array([0, 1]),
    logits=rng.normal(size=(2, 3, 2)),
    horizon=2,
  )


def enumerated(one: world.Worlds, prompt: int) -> float:
  """The expected outcome of a prompt as a sum over all its trajectories."""
  policy = exact.softmax(one.logits)[prompt]
  total = 0.0
  turns = [(a, s) for a in range(2) for s in range(3)]
  for path in itertools.product(turns, repeat=one.horizon):
    state, chance, outcome = one.start[prompt], 1.0, 0.0
    for action, following in path:
      if one.terminal[prompt, state]:
        # One of the equal ways of doing nothing.
        chance *= (action, following) == (0, state)
        continue
      step = one.transition[prompt, state, action, following]
      chance *= policy[state, action] * step
      outcome += one.gain[prompt, following]
      state = following
    total += chance * outcome
  return total


def value(one: world.Worlds, prompt: int) -> float:
  return exact.solve(one).values[prompt, one.horizon, one.start[prompt]]


@pytest.mark.parametrize("prompt", [0, 1])
def test_values_equal_the_sum_over_all_trajectories(prompt):
  one = tiny()
  np.testing.assert_allclose(value(one, prompt), enumerated(one, prompt))


@pytest.mark.parametrize("make", [tiny, lambda: worlds.reasoning(2)])
def test_the_gradient_equals_finite_differences(make):
  one = make()
  gradient = exact.solve(one).gradient
  step = 1e-5
  for at in [(0, 0, 0), (0, 1, 1), (1, 1, 0), (1, 0, 1)]:
    shift = np.zeros_like(one.logits)
    shift[at] = step
    up, down = (
      value(dataclasses.replace(one, logits=one.logits + x), at[0])
      for x in (shift, -shift)
    )
    np.testing.assert_allclose(
      gradient[at], (up - down) / (2 * step), atol=1e-8
    )


@pytest.mark.parametrize("make", worlds.ALL)
def test_policies_have_the_skill_that_is_asked_for(make):
  one = make(3)
  found = [value(one, prompt) for prompt in range(3)]
  np.testing.assert_allclose(found, [0.2, 0.4, 0.6], atol=1e-6)
  assert np.isin(one.gain, (0.0, 1.0)).all()
  np.testing.assert_allclose(one.transition.sum(-1)[~one.terminal], 1.0)


@pytest.fixture(scope="module")
def lake() -> arena.Arena:
  return arena.Arena(worlds.lakes(2), SIZE, seed=0, turns=12)


def judged(place, make, group, extra=None) -> dict[str, float]:
  """The metrics of a recipe, without intervals."""
  made = make()
  cell = arena.Cell(group, extra)
  rows = place.judge(made, tables.assign(made), cell).rows
  found = measure.measure(
    rows, place.truth.policy, place.truth.gradient, np.random.default_rng(0)
  )
  return {k: v.value for k, v in found.items()}


def test_sampled_outcomes_and_lengths_agree_with_the_exact_ones(lake):
  played = lake.context(arena.Cell(16, None)).played
  at = [(p, lake.world.horizon, lake.world.start[p]) for p in range(2)]
  for sampled, table in [
    (played.outcome.mean((0, 2)), lake.truth.values),
    (played.live.sum(-1).mean((0, 2)), lake.truth.steps),
  ]:
    wanted = np.array([table[x] for x in at])
    np.testing.assert_allclose(sampled, wanted, rtol=0.25)


def test_exact_advantages_are_perfect_and_their_cosine_goes_to_1(lake):
  few = judged(lake, study.exact_credit, 2)
  many = judged(lake, study.exact_credit, 16)
  for found in (few, many):
    for name in ("rank", "sign", "r2"):
      assert found[name] == pytest.approx(1.0, abs=1e-6)
    assert found["bias"] == pytest.approx(0.0, abs=1e-6)
    assert found["variance"] == pytest.approx(0.0, abs=1e-6)
  assert few["cosine"] < many["cosine"]
  assert many["cosine"] > 0.85


def test_the_gradient_of_exact_advantages_over_all_batches_is_the_true_one():
  size = SIZE._replace(num_batches=400)
  place = arena.Arena(worlds.reasoning(2), size, seed=0, turns=8)
  made = study.exact_credit()
  rows = place.judge(made, tables.assign(made), arena.Cell(16, None)).rows
  estimated = measure.score(rows.credit * rows.live, rows, place.truth.policy)
  estimated = estimated.mean(0) / 16
  error = np.linalg.norm(estimated - place.truth.gradient)
  assert error < 0.03 * np.linalg.norm(place.truth.gradient)


def test_noise_says_nothing(lake):
  found = judged(lake, study.random_credit, 16)
  for name in ("rank", "cosine", "r2", "bias", "offset"):
    assert found[name] == pytest.approx(0.0, abs=0.12)
  assert found["sign"] == pytest.approx(0.5, abs=0.05)
  assert found["variance"] == pytest.approx(1.0, abs=0.1)


def test_what_is_wrong_on_average_is_bias_and_what_is_drawn_is_variance(lake):
  made = study.exact_credit()
  rows = lake.judge(made, tables.assign(made), arena.Cell(16, None)).rows
  rng = np.random.default_rng(0)
  spread = rows.exact[rows.live].std()
  wrong = spread * np.where(rows.place % 2, 1.0, -1.0)
  noise = spread * rng.normal(size=rows.exact.shape)
  for error, name, other in [
    (wrong, "bias", "variance"),
    (noise, "variance", "bias"),
  ]:
    found = measure.measure(
      rows._replace(credit=rows.exact + error),
      lake.truth.policy,
      lake.truth.gradient,
      rng,
    )
    assert found[name].value == pytest.approx(0.5, abs=0.1)
    assert found[other].value == pytest.approx(0.0, abs=0.05)


def test_the_shares_of_the_mean_square_add_up(lake):
  found = judged(lake, recipes.grpo, 16)
  shares = found["r2"] + found["bias"] + found["variance"]
  assert shares == pytest.approx(1.0)


def test_merging_equal_transitions_changes_ranks_and_not_the_gradient(lake):
  # The policy sees the state alone, so that steps of one transition have one
  # grad log pi, and only the sum of their credit matters.
  plain, merged = judged(lake, recipes.grpo, 16), judged(lake, recipes.salt, 16)
  assert merged["cosine"] == pytest.approx(plain["cosine"], abs=1e-5)
  assert merged["rank"] > plain["rank"] + 0.05


def test_ranks_share_ties_and_leave_out_what_is_not_live():
  x = np.array([[3.0, 1.0, 1.0, 9.0]])
  live = np.array([[True, True, True, False]])
  wanted = [[1 / 3, -1 / 6, -1 / 6, 0]]
  np.testing.assert_allclose(measure._ranks(x, live), wanted)


def test_continuations_are_booked(lake):
  made = recipes.spo_chain()
  still = lambda columns: np.zeros_like(columns["weight"], float)
  free = lake.judge(made, still, arena.Cell(16, 0))
  paid = lake.judge(made, still, arena.Cell(16, 4))
  per_prompt = free.rows.live.sum() / (SIZE.num_batches * 2)
  assert free.samples == 16
  assert free.steps == pytest.approx(per_prompt)
  assert paid.samples == pytest.approx(16 + 4 * per_prompt)
  # From a live row there is at least one turn to go.
  assert paid.steps >= free.steps + 4 * per_prompt
  played = lake.context(arena.Cell(16, 4)).played
  longest = 4 * (played.live * (12 - np.arange(12))).sum() / 16
  assert paid.steps <= free.steps + longest


def test_a_reference_is_booked_as_one_more_trajectory(lake):
  still = lambda columns: np.zeros_like(columns["weight"], float)
  cell = arena.Cell(2, None)
  plain, compared = (
    lake.judge(made, still, cell) for made in (recipes.grpo(), recipes.par())
  )
  assert compared.samples == plain.samples + 1
  at = [(p, lake.world.horizon, lake.world.start[p]) for p in range(2)]
  longer = np.mean([lake.truth.steps[x] for x in at])
  assert compared.steps == pytest.approx(plain.steps + longer)


def test_values_are_means_of_continuations_and_end_with_the_outcome(lake):
  seen = lake.context(arena.Cell(16, 4))
  before = evidence.column(seen, "value_before")
  after = evidence.column(seen, "value_after")
  live = seen.played.live
  assert np.isin(before[live], [0, 0.25, 0.5, 0.75, 1]).all()
  error = (before - context.value(seen))[live]
  assert abs(error.mean()) < 0.02
  inner = live[..., :-1] & live[..., 1:]
  np.testing.assert_array_equal(after[..., :-1][inner], before[..., 1:][inner])
  last = live.sum(-1) - 1
  ends = np.take_along_axis(after, last[..., None], -1)[..., 0]
  np.testing.assert_array_equal(ends, seen.played.outcome)


def test_the_tree_of_a_prompt_is_a_tree(lake):
  grown = lake.trees(16)
  columns = {k: x.astype(float) for k, x in grown.columns.items()}
  live = columns["weight"] > 0
  rows = trees.num_nodes(16)
  assert rows == 2 + 4 + 8 + 16
  for b in range(SIZE.num_batches):
    parent = columns["parent"][b].astype(int)
    child = live[b] & (parent >= 0)
    assert live[b][parent[child]].all()
    one_deeper = columns["depth"][b][child] - columns["depth"][b][parent[child]]
    assert (one_deeper == 1).all()
    assert (parent[child] // rows == np.flatnonzero(child) // rows).all()
    assert (np.bincount(parent[child]) <= 2).all()
    inner = np.isin(np.arange(len(parent)), parent[child])
    assert not columns["outcome"][b][inner].any()
  found = lake.judge(
    study.exact_tree_credit(), lambda x: x, arena.Cell(16, None)
  )
  assert found.samples == pytest.approx(live.sum() / (SIZE.num_batches * 2))
  assert found.steps == pytest.approx(grown.live.sum() / (SIZE.num_batches * 2))


def unknown() -> recipes.Recipe:
  return dataclasses.replace(
    recipes.grpo(), name="odd", evidence=("telepathy",)
  )


def test_a_study_is_reproducible_and_a_stranger_gets_one_line():
  size = arena.Size(
    groups=(2,), extras=(0,), group=2, num_prompts=2, num_batches=2
  )
  makes = [recipes.grpo, unknown]
  once, again, other = (study.run(makes, size, seed) for seed in (3, 3, 4))
  assert json.dumps(once) == json.dumps(again)
  assert once["records"] != other["records"]
  entry = once["recipes"][-1]
  assert (
    entry["skipped"] == "it reads telepathy, which these worlds do not have"
  )
  assert not any(r["recipe"] == "odd" for r in once["records"])


def test_the_command_prints_what_it_says(capsys, monkeypatch):
  monkeypatch.setenv("RLX_COMPILATION_CACHE", "off")
  args = ["--quick", "--json", "--recipe", "grpo", "--recipe", "dapo"]
  assert credit_fidelity.main(args) == 0
  found = json.loads(capsys.readouterr().out)
  assert found["formulas"].keys() == {*measure.FORMULAS, "gain"}
  assert {"seed", "versions", "seconds", "size", "worlds"} <= found.keys()
  names = [x["name"] for x in found["recipes"]]
  assert names[-2:] == ["grpo", "dapo"]
  assert found["recipes"][-1]["same_as"] == "grpo"
  for record in found["records"]:
    assert record["metrics"].keys() == measure.FORMULAS.keys()
    for metric in record["metrics"].values():
      assert metric["low"] <= metric["high"]
    if record["recipe"] == "dapo":
      assert record["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
  credit_fidelity.show(found)
  assert "the same credit as grpo: dapo" in capsys.readouterr().out


def test_a_wrong_argument_is_refused_before_anything_is_measured(monkeypatch):
  with pytest.raises(ValueError, match="no recipe 'grpoo'"):
    credit_fidelity.main(["--recipe", "grpoo"])
  with pytest.raises(ValueError, match="must end in .svg, .pdf, .png"):
    figure.check("fidelity.txt")
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(ValueError, match=r"pip install matplotlib"):
    figure.check("fidelity.svg")


@pytest.mark.parametrize("suffix", figure.SUFFIXES)
def test_a_figure_is_drawn(tmp_path, suffix):
  pytest.importorskip("matplotlib")
  size = arena.Size(
    groups=(2, 4), extras=(0, 1), group=2, extra=1, num_prompts=2, num_batches=2
  )
  found = study.run([recipes.grpo], size)
  path = tmp_path / f"fidelity{suffix}"
  figure.draw(found, path)
  assert path.stat().st_size > 10_000


def test_labels_are_moved_apart_and_keep_their_order():
  places = [0.5, 0.51, 0.1, 0.52]
  moved = np.array(figure._apart(places, 0.1))
  assert (np.diff(np.sort(moved)) >= 0.1 - 1e-6).all()
  assert (np.argsort(moved) == np.argsort(places)).all()
  assert moved[2] == 0.1
