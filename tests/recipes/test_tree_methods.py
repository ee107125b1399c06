"""Methods on trees and on values of prefixes: their numbers, and their laws."""

import dataclasses
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, recipes
from rlx.credit import gains, trees
from rlx.rollout import played, record
from tests.rollout import simulator

settings = hypothesis.settings(max_examples=10, deadline=None)
PARENT, DEPTH = [-1, 0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 2, 2]


def table(outcome, parent=PARENT, depth=DEPTH, *, weight=None, **extras):
  """A tree, every row of which is a step of its own."""
  size = len(parent)
  return credit.step_table(
    trajectory=np.arange(size),
    reward=np.zeros(size),
    outcome=outcome,
    parent=parent,
    depth=depth,
    weight=weight,
    extras=extras,
  )


def rootless(steps):
  """The same tree as plans make it: the root, the first row, is no row."""
  rest = jax.tree.map(lambda x: x[1:], steps)
  return dataclasses.replace(
    rest,
    parent=jnp.maximum(rest.parent - 1, -1),
    depth=rest.depth - 1,
  )


def advantages(made, steps):
  link = made.credit if isinstance(made, recipes.Recipe) else made
  with jax.disable_jit():  # Each is run once, on a handful of rows.
    return np.asarray(credit.advantages(link, link.init(), steps)[0])


def check(got, want):
  np.testing.assert_allclose(got, want, atol=2e-5)


def check_tree(made, steps, want):
  """With a row for the root, and without."""
  check(advantages(made, steps), [0, *want])
  check(advantages(made, rootless(steps)), want)


# Keys of the expected numbers stand in the names of the tests.
SPO = table([0, 0, 0, 1, 0, 0, 0])


def test_spotree_adv():
  check_tree(recipes.spo_tree(), SPO, [0.25, -0.25, 0.5, -0.5, 0, 0])


def test_spotree_adv_grpo():
  want = [1, -1, 1, -1, 0, 0]
  check_tree(recipes.spo_tree(scale="parent"), SPO, want)


def test_spotree_keep():
  made = recipes.spo_tree()
  assert made.keep is not None
  got = advantages(made, SPO)
  np.testing.assert_array_equal(got != 0, [0, 1, 1, 1, 1, 0, 0])
  assert recipes.spo_tree(drop_zeros=False).keep is None


def test_spotree_may_keep_what_the_prover_sees():
  """A node like its parent has no advantage, but a value to the prover."""
  made = recipes.spo_tree(drop_by="prover")
  steps = rootless(table([0, 0, 0, 1, 1, 0, 0]))
  ints = jnp.arange(6, dtype=jnp.int32)[:, None]
  zeros = jnp.zeros((6, 1))
  rollout = batch.Rollout(
    tokens=ints,
    valid=zeros == 0,
    mask=zeros == 0,
    log_probs=zeros,
    raw_log_probs=zeros,
    segment=ints,
    version=ints,
  )
  used = credit.spread(jnp.asarray(advantages(made, steps)), rollout.segment)
  np.testing.assert_array_equal(used[:, 0] != 0, [1, 1, 0, 0, 0, 0])
  assert made.keep is not None
  got = np.asarray(made.keep(rollout, steps, used))
  np.testing.assert_array_equal(got[:, 0], [1, 1, 1, 1, 0, 0])


def test_spotree_with_a_prover():
  gain = [0.253906, -0.683594, 0.0625, -0.9375, 0, 0]
  up = trees.difference(4)
  only = credit.chain(credit.outcome(), trees.fuse(max_depth=2), up)
  check_tree(only, SPO, gain)
  values = np.array([0.5, 0, 1, 0, 0, 0])
  got = advantages(recipes.spo_tree(prover=5.0), rootless(SPO))
  check(got, values + 5 * np.array(gain))


def spo_world():
  """One completion and continuations whose means are those of the example."""
  chance = [0.95, 0.5, 0.99, 0.8, 0.97, 0.6, 0.99, 0.7, 0.95, 0.3, 0.99, 0.85]
  world = simulator.Simulator(
    lambda text: 1.0, prompts=1, samples=1, longest=12
  )

  def sample(prompt_ids, indices):
    one = world.start(prompt_ids, indices)
    log_probs = np.log([chance])
    size = np.array([12])
    one.record.act(
      np.array([0]), np.full((1, 12), 5), log_probs, log_probs, size
    )
    one.record.pay(0, 1.0, 0, "", 1)
    return one._replace(stop=["stop"])

  def continue_from(before, cuts, n, **settings):
    del settings
    assert n == 10
    assert [cut.length - 3 for cut in cuts] == [1, 5, 9]
    log = record.Record.empty(
      np.repeat(before.record.prompt[[0]], 30),
      np.arange(30),
      length=15,
      turns=1,
      version=0,
    )
    log.turns[:] = 1
    wins = [np.arange(10) < 10 * value for value in (0.4, 0.7, 0.5)]
    log.reward[:, 0] = np.concatenate(wins)
    return before._replace(record=log, stop=["stop"] * 30)

  world.sample, world.continue_from = sample, continue_from
  return world


def test_spo_token_adv():
  made = recipes.spo_chain(interval=2, continuations=10, max_steps=5)
  world = spo_world()
  one, _ = made.plan.collect(world.verbs(), [0], [0], ())
  assert isinstance(one, played.Played)
  rollout, steps = one.record.rollout(), one.record.steps()
  got = advantages(made, steps)
  check(got, [0, 0.3, -0.2, 0.5, 0])
  spread = credit.spread(jnp.asarray(got), rollout.segment)
  assert made.keep is not None
  keep = np.asarray(made.keep(rollout, steps, spread)) & one.record.mask
  np.testing.assert_array_equal(keep[0, 3:], [0, 1] * 6)
  want = [0, 0.3, 0, 0.3, 0, -0.2, 0, -0.2, 0, 0.5, 0, 0.5]
  check(np.where(keep, spread, 0)[0, 3:], want)
  # Whitening is over the tokens learnt from: 2, 2 and 2.
  white = advantages(recipes.spo_chain(whiten=True), steps)
  kept = np.repeat([0.3, -0.2, 0.5], 2)
  want = (np.array([0.3, -0.2, 0.5]) - kept.mean()) / kept.std(ddof=1)
  check(white[1:4], want)


def chain(value_after, value_before, outcome=0.0, rewards=None, **columns):
  size = len(value_after)
  reward = np.zeros(size) if rewards is None else rewards
  return credit.step_table(
    trajectory=np.zeros(size),
    reward=reward,
    outcome=np.full(size, outcome),
    extras={
      "value_after": value_after,
      "value_before": value_before,
      **columns,
    },
  )


PAV = chain([0.5, 0.75, 1], [0.5, 0.5, 0.75])


def test_pav_eff_reward():
  check(advantages(recipes.pav(), PAV), [0.5, 0.779297, 1.001953])
  got = advantages(recipes.pav(alpha=5.0), PAV)
  check(got, [0.5, 1.042969, 1.019531])


def test_pav_gains():
  check(advantages(gains.gain(4), PAV), [0, 0.058594, 0.003906])
  check(advantages(gains.gain(), PAV), [0, 0.25, 0.25])


def test_a_prover_that_is_the_policy_only_scales_its_advantage():
  """L15."""
  made = recipes.pav(alpha=5.0, best_of=1, baseline=True)
  check(advantages(made, PAV), 6 * advantages(gains.gain(), PAV))


def test_pav_with_a_prover_of_its_own():
  steps = chain(
    [0.5, 0.75, 1],
    [0.5, 0.5, 0.75],
    prover_before=[1, 1, 0.5],
    prover_after=[1, 0.5, 1],
  )
  made = recipes.pav(prover="policy")
  check(advantages(made, steps), [0.5, 0.75 - 0.25, 1 + 0.25])
  assert len(made.providers) == 1
  assert not recipes.pav().providers

  def under(params):
    return {"prover": world.verbs()}[params]

  world = simulator.Simulator(lambda text: text.count("r") / 6)
  do = world.verbs()._replace(evidence=({"params": "prover"},), under=under)
  one, _ = made.plan.collect(do, [0, 1], [0, 1], ())
  assert set(one.record.columns) >= set(made.evidence)


def test_a_prover_tells_steps_apart_where_all_outcomes_tie():
  """And rewards no filler: a step that changes nothing gets Q alone."""
  tied = chain([0.5, 0.5, 1], [0.25, 0.5, 0.5], outcome=1.0)
  progress = advantages(recipes.pav(alpha=1.0), tied) - [0.5, 0.5, 1]
  check(progress, [0.253906, 0, 0.0625])


def test_outcomes_that_are_no_chances_are_cut_for_the_prover():
  steps = chain([3.0], [-2.0])
  check(advantages(gains.gain(4), steps), [1])
  check(advantages(gains.gain(1), steps), [5])


PORTOOL = table(
  [0, 0, 0, 1, -1, 1, 1], node=[0, 0.2, -0.2, 0.1, 0.1, 0.1, -0.1]
)
PORTOOL_FORK = [-0.707105, 0.707105, 0.707106, -0.707106, 0.707102, -0.707102]
PORTOOL_NODE = [-0.618469, 0.618469, 0.234592, -1.47153, 0.703775, 0.533163]


def test_portool_a():
  want = [-1.325574, 1.325574, 0.941698, -2.178636, 1.410877, -0.173939]
  made = recipes.portool(node=True)
  check(advantages(made, PORTOOL)[1:], want)
  check(advantages(made, rootless(PORTOOL)), want)


def test_portool_fork_and_traj():
  fork = recipes.portool(node=True, trajectory_weight=0.0)
  check_tree(fork, PORTOOL, PORTOOL_FORK)
  node = recipes.portool(node=True, fork_weight=0.0)
  check_tree(node, PORTOOL, PORTOOL_NODE)


def test_portool_takes_the_best_trajectory_on_request():
  made = recipes.portool(how="max", trajectory_weight=0.0)
  # Both children of the root can end well.
  got = advantages(made, rootless(PORTOOL))
  check(got[:2], [0, 0])
  assert got[2] > 0 > got[3]


def test_portool_without_a_fork_compares_trajectories_only():
  """Three trajectories of 2, 1 and 3 steps, each a tree of its own."""
  steps = table([0, 1, -1, 0, 0, 1], [-1, 0, -1, -1, 3, 4], [0, 1, 0, 0, 1, 2])
  steps = dataclasses.replace(
    steps, tree=jnp.array([0, 0, 1, 2, 2, 2], jnp.int32)
  )
  got = advantages(recipes.portool(), steps)
  check(got, advantages(recipes.portool(fork_weight=0.0), steps))
  sums = np.array([1 + 0.95, -1, 1 + 0.95 + 0.95**2])
  each = (sums - sums.mean()) / sums.std(ddof=1)
  check(got, each[[0, 0, 1, 2, 2, 2]])
  # An early leaf is discounted from its own end: the reward of step t is
  # discount^(T - t).
  reward = credit.chain(
    credit.outcome(), trees.fuse(max_depth=3, discount=0.95, vote="leaf")
  )
  check(advantages(reward, steps), [0.95, 1, -1, 0.9025, 0.95, 1])


BRANCH = table(
  [0, 0, 0, 1, 0.5, 0, 0.5], segment_log_prob=[0, 0, 0, 0, -1, 0, -1]
)


@pytest.mark.parametrize("fuse", ["leaf", "child", "path"])
def test_branch_a_and_branch_a_pathprob(fuse):
  want = [0.707107, -0.707107, 1.224745, 0, -1.224745, 0]
  check_tree(recipes.branch_grpo(fuse=fuse), BRANCH, want)


def test_branch_grpo_limits_and_prunes():
  got = advantages(recipes.branch_grpo(limit=1.0), rootless(BRANCH))
  assert abs(got).max() == 1
  assert recipes.branch_grpo().keep is None
  made = recipes.branch_grpo(
    width="best", window=1, window_first=0, window_last=0
  )
  assert made.keep is not None


def thoughts(**settings):
  """Five thoughts between what comes before the first cut and the answer."""
  accuracy = [0.4, 0.4, 0.4, 0.8, 0.2, 0.2]
  steps = chain(
    [*accuracy, 1.0],
    [0.4, *accuracy],
    rewards=[0, 0, 0, 0, 0, 0, 1.0],
    tokens=np.ones(7),
  )
  made = recipes.vsrm(**settings)
  link = credit.add(
    credit.chain(
      gains.gain(),
      gains.inner(),
      gains.look_ahead(0.7, 4),
      gains.inner(),
      *[gains.sooner()] * (settings.get("paid") == "before"),
    ),
    credit.rewards(),
  )
  return advantages(link, steps), advantages(made, steps)


def test_vsrm_r():
  r = [0.196, 0.28, 0.4, -0.6, 0]
  reward, got = thoughts()
  check(reward, [0, *r, 1])
  back = np.cumsum(np.array([0, *r, 1])[::-1])[::-1]
  check(got, (back - back.mean()) / back.std(ddof=1))
  sooner, _ = thoughts(paid="before")
  check(sooner, [*r, 0, 1])


def test_vsrm_without_a_cut_is_its_outcome():
  one = chain([1.0], [1.0], rewards=[1.0], tokens=[3.0])
  link = credit.chain(gains.gain(), gains.inner(), gains.look_ahead())
  check(advantages(link, one), [0])
  two = credit.step_table(
    trajectory=[0, 1],
    reward=[1, 0],
    extras=dict.fromkeys(("value_after", "value_before"), np.zeros(2))
    | {"tokens": np.array([3.0, 1.0])},
  )
  got = advantages(recipes.vsrm(), two)
  tokens = np.array([1, 1, 1, 0])
  check(got, (np.array([1, 0]) - tokens.mean()) / tokens.std(ddof=1))


def test_tree_grpo_mixes_siblings_and_trees():
  """Two trees of a fork and two leaves each."""
  outcome = [0, 1, 0, 0, 1, 1]
  steps = table(outcome, [-1, 0, 0, -1, 3, 3], [0, 1, 1, 0, 1, 1])
  steps = dataclasses.replace(
    steps, tree=jnp.array([0, 0, 0, 1, 1, 1], jnp.int32)
  )
  siblings = np.array([0, 1, -1, 0, 0, 0]) / np.sqrt(2)
  leaf = np.array([1, 0, 1, 1])
  z = (leaf - leaf.mean()) / leaf.std(ddof=1)
  every = np.array([z[:2].mean(), *z[:2], z[2:].mean(), *z[2:]])
  check(advantages(recipes.tree_grpo(mix=1.0), steps), siblings)
  check(advantages(recipes.tree_grpo(mix=0.0), steps), every)
  got = advantages(recipes.tree_grpo(), steps)
  check(got, (siblings + every) / 2)


SHALLOW = {"parent": np.full(8, -1), "depth": np.zeros(8)}


def shallow(seed):
  """Samples of two prompts, some of which failed: trees of one level."""
  rng = np.random.default_rng(seed)
  steps = table(rng.integers(0, 3, 8), weight=rng.random(8) < 0.8, **SHALLOW)
  prompt = jnp.asarray(rng.integers(0, 2, 8), jnp.int32)
  return dataclasses.replace(steps, prompt=prompt, tree=prompt)


@jax.jit
def of_one_level(steps):
  made = {
    "spo_tree": recipes.spo_tree(),
    "dr_grpo": recipes.dr_grpo(),
    "branch_grpo": recipes.branch_grpo(),
    "tree_grpo": recipes.tree_grpo(),
    "portool": recipes.portool(),
    "grpo": recipes.grpo(),
  }
  return {
    name: credit.advantages(x.credit, x.credit.init(), steps)[0]
    for name, x in made.items()
  }


@settings
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_trees_of_one_level_are_groups_of_samples(seed):
  """L12 and L13."""
  got = of_one_level(shallow(seed))
  check(got["spo_tree"], got["dr_grpo"])
  check(got["branch_grpo"], got["grpo"])
  check(got["tree_grpo"], got["grpo"])
  check(got["portool"], 2 * got["grpo"])


def test_the_gradient_of_spo_tree_is_that_of_the_return_halved():
  """Exactly: over all trees of two words, two children each, of two letters.

  A mean over b siblings that includes the node shrinks it by (b - 1) / b.
  """
  p, q = 0.3, np.array([0.6, 0.2])
  reward = np.array([[0.1, 0.7], [0.4, 1.5]])
  every = np.array(list(itertools.product([0, 1], repeat=6)))
  first, second = every[:, :2], every[:, 2:]
  above = first[:, [0, 0, 1, 1]]
  steps = table(np.zeros(6), [-1, -1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1])
  link = recipes.spo_tree(max_depth=1).credit

  def run(outcome):
    filled = dataclasses.replace(steps, outcome=outcome)
    return credit.advantages(link, link.init(), filled)[0]

  paid = np.concatenate([0.0 * first, reward[above, second]], 1)
  got = np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(paid, jnp.float32)))
  chance = np.where(first, p, 1 - p).prod(1)
  chance = chance * np.where(second, q[above], 1 - q[above]).prod(1)
  level = (got[:, :2] * (first - p)).mean(1)
  value = reward[:, 0] * (1 - q) + reward[:, 1] * q
  check(chance @ level, p * (1 - p) * (value[1] - value[0]) / 2)
  for letter in (0, 1):
    score = np.where(above == letter, second - q[letter], 0)
    level = (got[:, 2:] * score).mean(1)
    rise = reward[letter, 1] - reward[letter, 0]
    want = (p if letter else 1 - p) * q[letter] * (1 - q[letter]) * rise
    check(chance @ level, want / 2)


def test_where_all_end_alike_there_is_nothing_to_learn():
  steps = rootless(table(np.ones(7)))
  for made in (
    *(recipes.spo_tree(), recipes.spo_tree(scale="parent")),
    *(recipes.branch_grpo(), recipes.tree_grpo()),
  ):
    assert not advantages(made, steps).any()


def test_plans_fill_what_the_credit_reads():
  for method in (
    *(recipes.spo_chain, recipes.spo_tree, recipes.pav, recipes.vsrm),
    *(recipes.portool, recipes.branch_grpo, recipes.tree_grpo),
  ):
    made = method()
    fields = credit.step_table(trajectory=[0], reward=[0]).__dict__
    missing = set(made.evidence) - set(fields) - set(made.plan.columns)
    assert not missing
    assert set(made.plan.needs) <= set(made.verbs)
