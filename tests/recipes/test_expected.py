"""Numbers of the reference that are parts of a method's, each by its key.

What a method comes to is tested where the method is; these are the channels and
the evidence that it is made of.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, recipes
from rlx.credit import gains, groups, kernels, trees
from rlx.evidence import agreement, effective_rank, implicit_reward

TRAJECTORY = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3]
STEPS = credit.step_table(
  trajectory=TRAJECTORY,
  reward=[0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0],
  state=[0, 1, 2, 0, 1, 0, 4, 1, 2, 0, 4],
)
LOG_RATIOS = np.array([2.0, 1, 3, -1, -2, 1, 0, 2, 1, -1, -2])

# Two forks of two leaves; the first row is the root.
BINARY = {"parent": [-1, 0, 0, 1, 1, 2, 2], "depth": [0, 1, 1, 2, 2, 2, 2]}


def tree(outcome, **extras):
  return credit.step_table(
    trajectory=range(7),
    reward=[0] * 7,
    outcome=outcome,
    extras=extras,
    **BINARY,
  )


def along(accuracy):
  return credit.step_table(
    trajectory=[0] * (len(accuracy) - 1),
    reward=[0] * (len(accuracy) - 1),
    extras={"value_before": accuracy[:-1], "value_after": accuracy[1:]},
  )


ALONG_AN_EXPERT = credit.step_table(
  trajectory=[0, 0, 0, 1, 1, 1, 2, 2],
  reward=[1, 0.55, 1, 1, 1, 1, 0.55, 0.1],
  extras={"matched": [1, 0, 1, 1, 1, 1, 0, 0]},
)
SHARED = tree([0, 0, 0, 1, -1, 1, 1], node=[0, 0.2, -0.2, 0.1, 0.1, 0.1, -0.1])
AGENTS = credit.step_table(
  trajectory=[0, 0, 1, 1, 2, 2],
  reward=[0, 1, 0, 1, 0, 0],
  role=[0, 1, 0, 1, 0, 1],
  extras={"marginal": [1, 0.4, 1, 0, 0, 0], "tool": [1, 1, 1, 0, 1, 0]},
)
THREE_GROUPS = credit.step_table(
  trajectory=range(9),
  prompt=np.arange(9) // 3,
  reward=[1, 0, 0, 1, 1, 1, 0, 0, 0],
)

BACK = credit.returns(0.95)
STATE = ("prompt", "state")
EPISODE = credit.chain(credit.outcome(), credit.standardise(by=("prompt",)))
REWARD = credit.add(
  credit.chain(
    credit.outcome(), trees.fuse(max_depth=2, discount=0.95, vote="leaf")
  ),
  credit.evidence("node"),
)
# The root is no step, and gets no reward.
PATHS = credit.chain(
  credit.multiply(
    REWARD, credit.chain(credit.evidence("depth"), credit.above(0.5))
  ),
  trees.path_sum(max_depth=2),
)
LEAF = trees.among_leaves(credit.standardise(by=("prompt",)))
S, F, A, B, C = 0.720749, -1.26131, 0.866024, 2 / 3, 0.661436

KEYS = {
  "gigpo_returns": (
    *(BACK, STEPS),
    [0.9025, 0.95, 1, 0, 0, 0.857375, 0.9025, 0.95, 1, 0, 0],
  ),
  "gigpo_AE_rowweighted": (
    *(EPISODE, STEPS),
    [S, S, S, F, F, S, S, S, S, F, F],
  ),
  "gigpo_AE_pertraj": (
    *(recipes.gigpo(step_weight=0.0).credit, STEPS),
    [A, A, A, -A, -A, A, A, A, A, -A, -A],
  ),
  "gigpo_AS_std": (
    *(credit.chain(BACK, credit.standardise(by=STATE)), STEPS),
    [0.909837, 0.577349, 0, -0.865455, -1.154698, 0.821073]
    + [0.707106, 0.577349, 0, -0.865455, -0.707106],
  ),
  "gigpo_AS_mean": (
    *(credit.chain(BACK, credit.standardise(by=STATE, scale=None)), STEPS),
    [0.462531, 0.316667, 0, -0.439969, -0.633333, 0.417406]
    + [0.45125, 0.316667, 0, -0.439969, -0.45125],
  ),
  "oprl_AE_rloo": (
    *(recipes.rloo().credit, STEPS),
    [B, B, B, -B, -B, B, B, B, B, -B, -B],
  ),
  "uis1_AE_official": (
    recipes.ui_s1(
      step_weight=0.0, episode="own", vote="step", lone="raw"
    ).credit,
    ALONG_AN_EXPERT,
    [C, -C, C, C, C, C, -C, -1.984308],
  ),
  "uis1_traj_return": (
    *(credit.outcome(), ALONG_AN_EXPERT),
    [2.55] * 3 + [3] * 3 + [0.65] * 2,
  ),
  "uis1_AE_paper": (
    *(recipes.ui_s1(step_weight=0.0).credit, ALONG_AN_EXPERT),
    [0.387494] * 3 + [0.748264] * 3 + [-1.135758] * 2,
  ),
  "spotree_V": (
    credit.chain(credit.outcome(), trees.fuse(max_depth=2)),
    tree([0, 0, 0, 1, 0, 0, 0]),
    [0.25, 0.5, 0, 1, 0, 0, 0],
  ),
  "portool_step_reward": (
    *(REWARD, SHARED),
    # The root, 0 in the reference, has what its children make of it here.
    [0.95**2 / 2, 0.2, 0.75, 1.1, -0.9, 1.1, 0.9],
  ),
  "portool_path_return": (
    *(PATHS, SHARED),
    [0, 0.2, 0.75, 1.3, -0.7, 1.85, 1.65],
  ),
  "portool_traj": (
    *(credit.chain(PATHS, LEAF), SHARED),
    [0, 0, 0, 0.234592, -1.47153, 0.703775, 0.533163],
  ),
  "vsrm_delta": (
    *(gains.gain(), along([0.4, 0.4, 0.4, 0.8, 0.2, 0.2])),
    [0, 0, 0.4, -0.6, 0],
  ),
  "rapo_base": (
    *(recipes.grpo().credit, THREE_GROUPS),
    [1.154699, -0.577349, -0.577349, 0, 0, 0, 0, 0, 0],
  ),
  "sharp_R": (
    # Less the mean of each role, 1.1 and 2.3 / 3.
    *(recipes.sharp(scale=False).credit, AGENTS),
    np.array([1.6, 1.3, 1.6, 1.0, 0.1, 0.0]) - np.tile([1.1, 2.3 / 3], 3),
  ),
}


def check(got, want):
  np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("key", KEYS)
def test_a_channel_of_the_worked_example(key):
  link, steps, want = KEYS[key]
  with jax.disable_jit():  # Each is run once, on a handful of rows.
    check(credit.advantages(link, link.init(), steps)[0], want)


def test_spotree_parent_std():
  steps = tree([0, 0, 0, 1, 0, 0, 0])
  values = jnp.array([0.25, 0.5, 0, 1, 0, 0, 0])
  key = groups.key(steps, trees.SIBLINGS)
  got = groups.moments(values, key, groups.votes(steps), ddof=0.0).std
  # Of the children of the root, of its first child, and of its second.
  check(got[1:], [0.25, 0.25, 0.5, 0.5, 0, 0])


def test_pav_qmu_bo4():
  got = gains.better(jnp.array([0.5, 0.5, 0.75, 1.0]), 4)
  check(got, [0.9375, 0.9375, 0.996094, 1.0])


def test_oprl_step_reward_and_traj_score():
  """One token a step, whose log-ratio is the step's."""
  ints = jnp.zeros((1, 11), jnp.int32)
  mask = jnp.ones((1, 11), bool)
  x = jnp.asarray(LOG_RATIOS, jnp.float32)[None]
  rollout = batch.Rollout(
    tokens=ints,
    valid=mask,
    mask=mask,
    log_probs=x,
    raw_log_probs=x,
    segment=jnp.arange(11, dtype=jnp.int32)[None],
    version=ints,
  )
  got = 0.05 * implicit_reward.step_sums(x, mask, rollout, STEPS)
  want = [0.1, 0.05, 0.15, -0.05, -0.1, 0.05, 0, 0.1, 0.05, -0.05, -0.1]
  check(got, want)
  first = np.array([0, 3, 5, 9])
  total = kernels.keyed_sum(got, STEPS.trajectory)[first]
  check(total, [0.3, -0.15, 0.2, -0.15])
  mean = kernels.keyed_mean(got, STEPS.trajectory, STEPS.weight)[first]
  check(mean, [0.1, -0.075, 0.05, -0.075])


def test_verl_delta():
  ranks = jnp.array([2.0, 3.0, 3.5, 4.5])
  means = [effective_rank.velocity(ranks, jnp.int32(n))[0] for n in (2, 3, 4)]
  deltas = np.diff(np.array([0, 1, 2, 3]) * np.array([0, *means]))
  check(deltas, [1, 1, 1.666667])


def test_verl_dev_and_beta():
  """Where one of velocity and rank is as ever, the other alone is weighed."""
  mean, beta = jnp.array([0.1, 1.0, 4.0]), 0.990684
  phi = lambda *x: effective_rank.potential(jnp.array([x]), mean, 2.0)
  check(phi(0.333333, 1.0, 4.5), [beta * np.tanh(0.125)])
  check(phi(0.333333, 1.222222, 4.0), [(1 - beta) * np.tanh(0.222222)])
  check(beta, 1 / (1 + np.exp(-2 * 2.333333)))


def test_uis1_step_scores():
  # Exactly the expert's, of its type, and not to be parsed.
  got = [
    agreement.step_score(True, "exact"),
    agreement.step_score(True, "type"),
    agreement.step_score(True, "none"),
    agreement.step_score(False, "parsed"),
  ]
  check(got, [1, 0.55, 0.1, 0.09])
