"""Worked examples and edge cases of methods that are keys over columns.

The numbers are those of the methods' official code where there is one, else of
a reference implementation. The fixture is one prompt with four trajectories of
3, 2, 4 and 2 steps that succeed, fail, succeed and fail; the reward is paid on
the last step.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import credit, recipes
from rlx.credit import random_groups

TRAJECTORY = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3]
PROCESS = [1, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0]
STEPS = credit.step_table(
  trajectory=TRAJECTORY,
  reward=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0],
  state=[0, 1, 2, 0, 1, 0, 4, 1, 2, 0, 4],
  action=[0, 2, 4, 0, 3, 1, 5, 2, 4, 1, 6],
  next_state=[1, 2, 8, 1, 9, 4, 1, 2, 8, 4, 9],
  # The groups that were drawn in the example of SRGPO.
  tree=[0, 1, 2, 0, 1, 0, 2, 1, 2, 0, 1],
  extras={"process": PROCESS},
)
A = 0.866024


def update(made, table):
  """Advantages of a table by each of the recipes or links, in one program."""
  links = [getattr(x, "credit", x) for x in made]
  states = [link.init() for link in links]
  run = lambda t: [
    credit.advantages(link, state, t)[0]
    for link, state in zip(links, states, strict=True)
  ]
  return jax.jit(run)(table)


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


EPISODE = credit.chain(credit.outcome(), credit.standardise(by=("prompt",)))
DRAWN = credit.chain(
  credit.evidence("process"), credit.standardise(by=("tree",))
)
WORKED = {
  "salt": (recipes.salt(), [0, A, A, 0, -A, 0, A, A, A, 0, -A]),
  "hgpo": (
    recipes.hgpo(),
    [1.050589, 0.882841, 0, -0.99934, -1.165683, 0.948092]
    + [0.999998, 0.707105, 0, -0.99934, -0.999998],
  ),
  "graft_V": (
    credit.chain(credit.outcome(), credit.graph_values(0.99)),
    np.array([0.483532, 0.6534, 0.99, np.nan, 0.323433])[STEPS.state],
  ),
  "graft_residual": (
    credit.chain(credit.outcome(), credit.graph_gae(0.99, 0.0)),
    [0.163334, 0.3267, 0, 0.163334, -0.6534, -0.163334]
    + [0.323433, 0.3267, 0, -0.163334, -0.323433],
  ),
  "rtmc": (
    recipes.rtmc(),
    [0, 1 / 3, 0, 0, -2 / 3, 0, 0.5, 1 / 3, 0, 0, -0.5],
  ),
  "srgpo_AS": (
    DRAWN,
    [A, A, 0.577349, -A, -A, A, -1.154699, A, 0.577349, -A, -A],
  ),
  "srgpo_A": (
    credit.add(EPISODE, credit.scale(DRAWN, 0.5)),
    [1.15376, 1.15376, 1.009423, -1.694322, -1.694322, 1.15376]
    + [0.143399, 1.15376, 1.009423, -1.694322, -1.694322],
  ),
}


@functools.cache
def worked():
  return update([made for made, _ in WORKED.values()], STEPS)


@pytest.mark.parametrize("at, name", list(enumerate(WORKED)))
def test_the_worked_example(at, name):
  check(worked()[at], WORKED[name][1])


def test_the_graph_advantage_is_a_residual_relative_to_its_node():
  residual = np.array(WORKED["graft_residual"][1])
  want = np.zeros(11)
  for state in range(5):
    rows = np.asarray(STEPS.state) == state
    if np.ptp(residual[rows]) if rows.any() else 0:
      x = residual[rows]
      want[rows] = (x - x.mean()) / (x.std(ddof=1) + 1e-6)
  (got,) = update([recipes.graft(lambda_=0.0)], STEPS)
  check(got, want, 1e-4)


def test_a_drawn_order_makes_the_groups_of_the_example():
  order = np.array([0, 3, 5, 9, 1, 4, 7, 10, 2, 6, 8])
  draw = np.zeros(11, np.uint32)
  draw[order] = np.arange(11)
  got = random_groups.partition(jnp.asarray(draw), None, jnp.ones(11, bool), 4)
  np.testing.assert_array_equal(got, STEPS.tree)


def steps_of(rewards, extras=None):
  """One step of as many trajectories, all of one prompt."""
  return credit.step_table(
    trajectory=range(len(rewards)), reward=rewards, extras=extras
  )


SHARP = credit.step_table(
  trajectory=[0, 0, 1, 1, 2, 2],
  reward=[0, 1, 0, 1, 0, 0],
  role=[0, 1, 0, 1, 0, 1],
  extras={"marginal": [1, 0.4, 1, 0, 0, 0], "tool": [1, 1, 1, 0, 1, 0]},
)
SETS = {"consistency": [0.638889, 0.555556, 0.277778, 0.638889]}
REFERENCES = {"reference_reward/0": [0, 0, 0], "reference_reward/1": [2, 2, 2]}
PREFERRED = np.array([0.5, 0.309601, 0.5])
ONE_STEP = {
  "step_grpo": (
    recipes.step_grpo(),
    steps_of([0.95, 0.3, 0.9, 0.0]),
    [0.888328, -0.511462, 0.780652, -1.157519],
  ),
  "self_grpo": (
    recipes.self_grpo(),
    steps_of([1, 0.666667, 0.25, 1], extras=SETS),
    [0.742021, -0.110514, -1.373529, 0.742021],
  ),
  "prime_gate": (
    recipes.prime_gate(),
    steps_of([1, 1, 0, 0], extras={"process": [1, 0, 1, 0]}),
    [1.499997, -0.499999, -0.499999, -0.499999],
  ),
  "prime_gate_graded": (
    recipes.prime_gate(graded=True, scale=False),
    steps_of([1, 0.5], extras={"process": [0.5, 0.2]}),
    [0.2, -0.2],
  ),
  "par": (
    recipes.par(references=2, scale=False),
    steps_of([1, 0, 1], extras=REFERENCES),
    PREFERRED - PREFERRED.mean(),
  ),
  "sharp": (
    recipes.sharp(),
    SHARP,
    [0.57735, 0.783522, 0.57735, 0.342791, -1.154699, -1.126313],
  ),
  "hi_agent": (
    recipes.hi_agent(),
    steps_of([0] * 4, extras={"process": [0.85, 0.25, 0, 1]}),
    [0.681384, -0.576555, -1.100697, 0.995869],
  ),
  "step_gui": (
    recipes.step_gui(scale=False),
    steps_of([1, 0.882497, 0.367879, 0.135335]),
    np.array([1, 0.882497, 0.367879, 0.135335]) - 0.596428,
  ),
}


@pytest.mark.parametrize("name", ONE_STEP)
def test_the_worked_example_of_one_step(name):
  made, table, want = ONE_STEP[name]
  check(update([made], table)[0], want)


def test_an_agent_has_one_vote_a_trajectory_however_often_it_acts():
  once = credit.step_table(
    trajectory=[0, 1, 2], reward=[1, 0, 0], role=[1, 1, 1]
  )
  often = credit.step_table(
    trajectory=[0, 1, 1, 1, 2], reward=[1, 0, 0, 0, 0], role=[1, 1, 1, 1, 1]
  )
  made = [recipes.dr_mas()]
  want = np.asarray(update(made, once)[0])
  check(update(made, often)[0], want[[0, 1, 1, 1, 2]])


def test_a_role_that_acted_in_one_trajectory_only_learns_nothing():
  table = credit.step_table(
    trajectory=[0, 0, 1, 2, 2],
    reward=[0, 1, 0, 0, 1],
    role=[0, 1, 0, 0, 2],
  )
  (got,) = update([recipes.dr_mas(scale=False)], table)
  check(got, [1 / 3, 0, -2 / 3, 1 / 3, 0])


def test_verdicts_are_read_where_the_trajectory_ended():
  table = credit.step_table(
    trajectory=[0, 0, 1, 1],
    reward=[0, 1, 0, 1],
    weight=[1, 1, 1, 1],
    extras={"process": [0, 1, 1, 0]},
  )
  (got,) = update([recipes.prime_gate(scale=False)], table)
  check(got, [0.5, 0.5, -0.5, -0.5])


def test_a_state_met_once_and_a_node_left_once_teach_nothing():
  table = credit.step_table(
    trajectory=[0, 0, 1, 1], reward=[0, 1, 0, 0], state=[0, 1, 2, 3]
  )
  for got in update([recipes.hgpo(), recipes.graft(), recipes.rtmc()], table):
    check(got, [0, 0, 0, 0])
  # Nothing is shared: plain GRPO.
  (got,) = update([recipes.salt(scale=False)], table)
  check(got, [0.5, 0.5, -0.5, -0.5])


def test_a_loop_inside_of_one_trajectory_averages_with_itself():
  table = credit.step_table(
    trajectory=[0, 0, 1], reward=[0, 1, 0], state=[0, 0, 1], next_state=[0] * 3
  )
  (got,) = update([recipes.salt(scale=False)], table)
  check(got, [0.5, 0.5, -0.5])


def test_a_stochastic_environment_is_told_by_where_it_led():
  table = credit.step_table(
    trajectory=[0, 1, 2, 3], reward=[1, 0, 1, 0], next_state=[1, 2, 1, 1]
  )
  (got,) = update([recipes.salt(scale=False)], table)
  check(got, [1 / 6, -0.5, 1 / 6, 1 / 6])


def test_states_are_never_shared_between_prompts():
  table = credit.step_table(
    trajectory=[0, 1, 2, 3], prompt=[0, 0, 1, 1], reward=[1, 0, 5, 4]
  )
  made = [recipes.rtmc(), recipes.hgpo(), recipes.graft(), recipes.salt()]
  rtmc, hgpo, graft, salt = update(made, table)
  check(rtmc, [0, 0, 0, 0])
  check(hgpo, [1, -1, 1, -1], 1e-4)
  check(graft, np.array([1, -1, 1, -1]) / np.sqrt(2), 1e-4)
  check(salt, [0, 0, 0, 0])


def test_a_salt_with_history_merges_less():
  # The same transition, after different ones.
  table = credit.step_table(
    trajectory=[0, 0, 1, 1],
    reward=[0, 1, 0, 0],
    state=[0, 1, 2, 1],
    next_state=[1, 9, 1, 9],
  )
  made = [recipes.salt(scale=False), recipes.salt(scale=False, history=1)]
  merged, split = update(made, table)
  check(merged, [0.5, 0, -0.5, 0])
  check(split, [0.5, 0.5, -0.5, -0.5])


def test_the_last_random_group_may_be_one_row_which_gets_nothing():
  table = steps_of([0.0] * 5, extras={"process": [1, 2, 3, 4, 5]})
  (got,) = update([recipes.srgpo(group_rows=2, scale=False)], table)
  got = np.asarray(got)
  assert (got == 0).sum() == 1
  check(got.sum(), 0)


@pytest.mark.parametrize("scope, alone", [("prompt", True), ("batch", False)])
def test_random_groups_are_of_a_prompt_or_of_the_batch(scope, alone):
  table = credit.step_table(
    trajectory=range(8),
    prompt=[0, 1] * 4,
    reward=[0.0] * 8,
    extras={"process": np.arange(8.0) ** 2},
  )
  made = recipes.srgpo(group_rows=4, scope=scope, scale=False, step_weight=1.0)
  got = np.asarray(update([made], table)[0])
  check(got.sum(), 0, 1e-4)
  assert (abs(got[::2].sum()) < 1e-4) == alone


def test_random_groups_change_with_each_update_and_can_be_repeated():
  table = steps_of([0.0] * 16, extras={"process": np.arange(16.0)})
  made = recipes.srgpo(group_rows=4).credit
  step = jax.jit(lambda state: credit.advantages(made, state, table))
  start = made.init()
  assert [x.dtype for x in jax.tree.leaves(start)] == [jnp.uint32]
  first, state = step(start)
  second, _ = step(state)
  again, _ = step(jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), start))
  np.testing.assert_array_equal(first, again)
  assert (np.asarray(first) != np.asarray(second)).any()
  other = recipes.srgpo(group_rows=4, seed=1).credit.init()
  assert (np.asarray(step(other)[0]) != np.asarray(first)).any()


@pytest.mark.parametrize(
  "make, said",
  [
    (lambda: recipes.par(references=0), "references=0"),
    (lambda: recipes.salt(history=-1), "history=-1"),
    (lambda: recipes.hgpo(history=-1), "history=-1"),
    (lambda: recipes.graft(lambda_=2.0), "lambda_=2.0"),
    (lambda: recipes.graft(discount=-1.0), "discount=-1.0"),
    (lambda: recipes.graft(sweeps=-1), "sweeps=-1"),
    (lambda: credit.before("state", -1), "back=-1"),
  ],
)
def test_what_cannot_be_is_refused_by_name(make, said):
  with pytest.raises(ValueError, match=said):
    make()
