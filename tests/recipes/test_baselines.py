"""Numbers of the baselines, and what becomes of them in degenerate groups.

One prompt and four samples of one step each, unless said otherwise. The numbers
were computed from the methods' official code.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, objective, recipes

WIN, LOSE = 0.866024, -0.866024
ALTERNATE = [1.0, 0.0, 1.0, 0.0]
ONE_OF_FOUR = [1.0, 0.0, 0.0, 0.0]


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


@functools.cache
def compiled(link):
  state = link.init()
  return jax.jit(lambda table: credit.advantages(link, state, table)[0])


def advantages(made, table):
  return compiled(made.credit)(table)


def samples(rewards, lengths=None, prompt=None, weight=None):
  """A table of trajectories of one step each."""
  size = len(rewards)
  return credit.step_table(
    trajectory=range(size),
    reward=rewards,
    prompt=prompt,
    weight=weight,
    extras={"length": [1] * size if lengths is None else lengths},
  )


def tokens(rewards, lengths, values=None, prompt=None, extras=None):
  """The table of tokens of trajectories of one step each, all chosen."""
  mask = jnp.arange(max(lengths))[None] < jnp.asarray(lengths)[:, None]
  zeros = jnp.zeros(mask.shape)
  ints = zeros.astype(jnp.int32)
  rows = jnp.arange(len(lengths), dtype=jnp.int32)[:, None]
  rollout = batch.Rollout(
    tokens=ints,
    valid=mask,
    mask=mask,
    log_probs=zeros,
    raw_log_probs=zeros,
    segment=jnp.where(mask, rows, -1),
    version=ints,
  )
  steps = credit.step_table(
    trajectory=range(len(lengths)), reward=rewards, prompt=prompt, extras=extras
  )
  return jax.jit(credit.token_table)(rollout, steps, values=values), mask


GRPO_LIKE = [
  recipes.grpo,
  recipes.dapo,
  recipes.gspo,
  recipes.cispo,
  recipes.sapo,
  recipes.dual_clip,
]


@pytest.mark.parametrize("method", GRPO_LIKE, ids=lambda f: f.__name__)
def test_methods_that_differ_in_the_loss_have_the_credit_of_grpo(method):
  # Also a prompt whose samples are equal, and one with a lone sample.
  rewards = [*ALTERNATE, *ONE_OF_FOUR, 1.0, 1.0, 1.0, 1.0, 1.0]
  prompt = [0] * 4 + [1] * 4 + [2] * 4 + [3]
  want = [WIN, LOSE, WIN, LOSE, 1.499997, *[-0.499999] * 3, *[0] * 5]
  check(advantages(method(), samples(rewards, prompt=prompt)), want)


@pytest.mark.parametrize(
  "made, rewards, want",
  [
    (recipes.grpo(lone="raw"), [1.0], [1.0]),
    (recipes.rloo(lone="raw"), [1.0], [1.0]),
    (recipes.rloo(), ONE_OF_FOUR, [1.0, -0.333333, -0.333333, -0.333333]),
    (recipes.rloo(), ALTERNATE, [0.666667, -0.666667, 0.666667, -0.666667]),
    (recipes.dr_grpo(), ALTERNATE, [0.5, -0.5, 0.5, -0.5]),
    (recipes.gpg(), ALTERNATE, [1, -1, 1, -1]),
    (recipes.gpg(norm=2.0), ALTERNATE, [0.5, -0.5, 0.5, -0.5]),
    (recipes.gpg(), [0.0] * 4, [0.0] * 4),
    (recipes.pass_at_k(), [0.9, 0.2, 0.6, 0.1], [0.8115, 0, 0, 0]),
    (recipes.pass_at_k(scale=False), [0.9, 0.2, 0.6, 0.1], [0.3, 0, 0, 0]),
    (recipes.pass_at_k(), ONE_OF_FOUR, [1.999996, 0, 0, 0]),
    (recipes.pass_at_k(), ALTERNATE, [0, 0, 0, 0]),
    (recipes.pass_at_k(), [1.0], [0]),
  ],
)
def test_the_worked_baselines(made, rewards, want):
  check(advantages(made, samples(rewards)), want)


def test_opo_weighs_the_baseline_by_length():
  table = samples(ALTERNATE, lengths=[2, 4, 6, 8])
  check(advantages(recipes.opo(), table), [0.6, -0.4, 0.6, -0.4])
  # Of one length all samples weigh the same.
  table = samples(ALTERNATE, lengths=[3] * 4)
  check(advantages(recipes.opo(), table), [0.5, -0.5, 0.5, -0.5])


def test_opo_counts_the_tokens_of_a_trajectory_once_whatever_its_steps():
  table = credit.step_table(
    trajectory=[0, 0, 0, 1, 2, 2, 3],
    reward=[0, 0, 1, 0, 0.5, 0.5, 0],
    extras={"length": [2, 2, 2, 4, 6, 6, 8]},
  )
  got = advantages(recipes.opo(), table)
  check(got, [0.6, 0.6, 0.6, -0.4, 0.6, 0.6, -0.4])


def test_opo_without_the_lengths_says_what_is_missing():
  table = credit.step_table(trajectory=[0, 1], reward=[0, 1])
  with pytest.raises(ValueError, match="no column 'length' in the step table"):
    credit.advantages(recipes.opo().credit, recipes.opo().credit.init(), table)


def test_gpg_makes_up_for_groups_without_a_gradient():
  prompt, rewards = [0, 0, 1, 1, 2, 2], [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
  table = samples(rewards, prompt=prompt)
  # Five outcomes are not 0; two advantages are not.
  half = 0.5 * 6
  want = np.array([half, -half, 0, 0, 0, 0])
  check(advantages(recipes.gpg(), table), want / 5)
  check(advantages(recipes.gpg(count="advantage"), table), want / 2)


def test_pass_at_k_looks_at_each_prompt_and_at_whole_trajectories():
  table = credit.step_table(
    trajectory=[0, 0, 1, 2, 2, 3, 4],
    prompt=[0, 0, 0, 1, 1, 1, 1],
    reward=[0.0, 1.0, 0.0, 3.0, 1.0, 1.0, 9.0],
    weight=[1, 1, 1, 1, 1, 1, 0],
  )
  got = advantages(recipes.pass_at_k(scale=False), table)
  check(got, [1, 1, 0, 3, 3, 0, 0])


def test_reinforce_plus_plus_sums_then_whitens():
  table, mask = tokens([1.0, 0.0], [2, 3])
  link = credit.returns(1.0)
  got = compiled(link)(table).reshape(mask.shape)
  check(got, [[1, 1, 0], [0, 0, 0]])
  a, b = 1.095445, -0.730297
  got = advantages(recipes.reinforce_plus_plus(), table)
  check(got.reshape(mask.shape), [[a, a, 0], [b, b, b]])


def test_reinforce_plus_plus_baseline_centres_groups_and_whitens_tokens():
  table, mask = tokens(ALTERNATE, [1, 1, 2, 2])
  got = advantages(recipes.reinforce_plus_plus_baseline(), table)
  a = 0.912871
  check(got.reshape(mask.shape), [[a, 0], [-a, 0], [a, a], [-a, -a]])


VALUES = jnp.array([[0.2, 0.5, 0.4]])


@pytest.mark.parametrize("method", [recipes.mis_po, recipes.pacore])
def test_the_methods_with_a_critic_trust_the_outcome(method):
  table, _ = tokens([1.0], [3], VALUES, extras={"bootstrap_value": [0.0]})
  raw = np.array([0.8, 0.5, 0.6])
  check(advantages(method(whiten=False), table), raw)
  white = (raw - raw.mean()) / raw.std(ddof=1)
  check(advantages(method(), table), white)
  targets = method().value_targets
  check(compiled(targets)(table), [1, 1, 1])


def test_an_episode_that_was_cut_off_may_end_with_a_value():
  made = recipes.mis_po(whiten=False)
  assert made.bootstraps
  assert not recipes.mis_po(bootstrap=False).bootstraps
  table, _ = tokens([0.0], [3], VALUES, extras={"bootstrap_value": [0.4]})
  check(advantages(made, table), [0.2, -0.1, 0])
  assert made.value_targets is not None
  check(compiled(made.value_targets)(table), [0.4, 0.4, 0.4])


AS_TRAINED = [[0.0, 0.0], [0.0, 0.0]]


def loss_of(made, log_ratio, gap, advantage):
  """Two rows of tokens, moved by `log_ratio`, sampled `gap` away."""
  new = jnp.full((2, 2), -1.0)
  mask = jnp.ones((2, 2), bool)
  fixed = jnp.zeros((2, 2))

  def loss(x):
    given = objective.TokenInputs(
      log_probs=x,
      entropy=fixed,
      advantages=jnp.full((2, 2), advantage),
      mask=mask,
      weights=made.objective.weights(mask),
      segment=jnp.zeros((2, 2), jnp.int32),
      old_log_probs=new - jnp.asarray(log_ratio),
      sampler_log_probs=new - jnp.asarray(log_ratio) - jnp.asarray(gap),
      values=fixed,
      old_values=fixed,
      returns=fixed,
    )
    return made.objective.loss(given)[0]

  return loss, new


def gradient(made, log_ratio, gap=AS_TRAINED, advantage=1.0):
  """Of four tokens of weight 1/4 each, times 4."""
  loss, new = loss_of(made, log_ratio, gap, advantage)
  return 4 * jax.grad(loss)(new)


SMALL, LARGE = np.log(1.25), np.log(5.0)
MOVED = [[0.0, SMALL], [0.0, LARGE]]


@pytest.mark.parametrize(
  "made, advantage, want",
  [
    (recipes.grpo(), 1.0, [[-1, 0], [-1, 0]]),
    (recipes.dapo(), 1.0, [[-1, -1.25], [-1, 0]]),
    (recipes.dapo(), -1.0, [[1, 1.25], [1, 5]]),
    (recipes.dual_clip(), -1.0, [[1, 1.25], [1, 0]]),
    (recipes.cispo(), 1.0, [[-1, -1.25], [-1, -1.28]]),
    (recipes.gpg(), 1.0, [[-1, -1], [-1, -1]]),
    (recipes.pacore(), 1.0, [[-1, -1], [-1, -1]]),
    # One ratio per row, far out of its range.
    (recipes.gspo(), 1.0, [[0, 0], [0, 0]]),
    (recipes.gspo(), -1.0, [[1.118034, 1.118034], [2.236068, 2.236068]]),
  ],
)
def test_each_method_limits_a_token_that_has_moved_in_its_own_way(
  made, advantage, want
):
  check(gradient(made, MOVED, advantage=advantage), want)


def test_mis_po_learns_nothing_from_what_the_sampler_saw_otherwise():
  # The first row disagrees in one token, the second a little in all.
  gap = [[np.log(2.5), -np.log(2.5)], [0.0005, 0.0005]]
  check(gradient(recipes.mis_po(), AS_TRAINED, gap), [[0, 0], [-1, -1]])
  gap = [[0.01, 0.01], [0.0, 0.0]]
  check(gradient(recipes.mis_po(), AS_TRAINED, gap), [[0, 0], [-1, -1]])
  wide = recipes.mis_po(sequence_low=0.9, sequence_high=1.1)
  check(gradient(wide, AS_TRAINED, gap), [[-1, -1], [-1, -1]])


def test_mis_po_where_nothing_disagrees_is_reinforce():
  got = gradient(recipes.mis_po(), AS_TRAINED)
  np.testing.assert_array_equal(got, gradient(recipes.reinforce(), AS_TRAINED))


def test_dapo_asks_the_rollout_for_groups_that_differ():
  assert recipes.dapo().filter_groups
  assert "filter" in recipes.dapo().verbs
  assert not recipes.dapo(filter_groups=False).filter_groups
