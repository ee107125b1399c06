"""Numbers of methods that live on edits of what was played.

They were computed from the methods' official code, or by hand where there is
none.
"""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import batch, credit, recipes


def check(got, want):
  np.testing.assert_allclose(got, want, atol=2e-5)


def advantages(link, table):
  state = link.init()
  return jax.jit(lambda t: credit.advantages(link, state, t)[0])(table)


# StepSearch: one sequence of 8 tokens, the ends of two searches at 1 and 5, the
# answer at 7. Tokens 2 and 3 were retrieved.

MASK = np.array([[1, 1, 0, 0, 1, 1, 1, 1]], bool)
SEGMENT = np.array([[0, 0, -1, -1, 1, 1, 2, 2]], np.int32)


def searched(final=0.8 + 0.618 * 0.5, **extras):
  """The step table, and the table of tokens, of the worked example."""
  steps = credit.step_table(
    trajectory=[0, 0, 0],
    reward=[0, 0, final],
    extras={
      "information_gain": [0.35, 0.3, 0],
      "redundancy": [0, 0.5, 0],
      "sub_answer_gain": [0, 0, 0],
      **extras,
    },
  )
  mask = jnp.asarray(MASK)
  zeros = jnp.zeros(MASK.shape)
  rollout = batch.Rollout(
    tokens=zeros.astype(jnp.int32),
    valid=jnp.ones(MASK.shape, bool),
    mask=mask,
    log_probs=zeros,
    raw_log_probs=zeros,
    segment=jnp.asarray(SEGMENT),
    version=zeros.astype(jnp.int32),
  )
  return credit.token_table(rollout, steps)


def chosen(x):
  return np.asarray(x)[MASK[0]]


def test_stepsearch_returns_of_the_worked_example():
  made = recipes.stepsearch(whiten=False)
  got = chosen(advantages(made.credit, searched()))
  # stepsearch_returns, where tokens 2 and 3 pass on .989.
  check(got, [1.199, 1.199, 0.989, 0.989, 1.109, 1.109])
  # Without a value function the targets are the returns themselves.
  assert made.value_targets is not None
  check(chosen(advantages(made.value_targets, searched())), got)


def test_stepsearch_token_rewards_of_the_worked_example():
  got = advantages(
    recipes.stepsearch(whiten=False, discount=0.0).credit, searched()
  )
  want = [0, 0.21, 0, 0, 0, -0.12, 0, 1.109]
  check(chosen(got), chosen(want))


def test_stepsearch_whitens_over_the_tokens_that_were_chosen():
  got = advantages(recipes.stepsearch().credit, searched())
  want = [1.06119, 1.06119, 0, 0, -1.167309, -1.167309, 0.106119, 0.106119]
  check(chosen(got), chosen(want))


def test_stepsearch_may_whiten_over_what_was_retrieved_too():
  got = advantages(recipes.stepsearch(retrieved=True).credit, searched())
  carried = np.array([1.199] * 2 + [0.989] * 4 + [1.109] * 2)
  white = (carried - carried.mean()) / carried.std(ddof=1)
  check(chosen(got), chosen(white))
  # What stands before the first token, or behind the last, is no observation.
  table = jax.tree.map(lambda x: jnp.pad(x, 3), searched())
  padded = advantages(recipes.stepsearch(retrieved=True).credit, table)
  check(padded[3:-3], got)


def test_a_malformed_episode_earns_nothing_for_its_searches():
  made = recipes.stepsearch(whiten=False)
  got = chosen(advantages(made.credit, searched(final=-1.0)))
  check(got, [-1] * 6)


def test_without_a_scale_stepsearch_is_ppo():
  table = searched()
  got = advantages(recipes.stepsearch(step_scale=0.0).credit, table)
  check(got, advantages(recipes.ppo().credit, table))


def test_erl_pays_searches_sub_answers_and_answers_where_they_end():
  table = searched(final=0.75, sub_answer_gain=[0, 0.25, 0])
  made = recipes.erl(whiten=False, discount=0.0)
  got = chosen(advantages(made.credit, table))
  check(got, [0, 0.35, 0, 0.3 - 0.5 + 0.25, 0, 0.75])


# UI-S1: three rollouts of 3, 3 and 2 steps.

SCORE = [1, 0.55, 1, 1, 1, 1, 0.55, 0.1]
MATCHED = [1, 0, 1, 1, 1, 1, 0, 0]
RETURNS = [1, 0.55, 1, 1.75, 1.5, 1, 0.55, 0.1]


def along_an_expert(**columns):
  return credit.step_table(
    trajectory=[0, 0, 0, 1, 1, 1, 2, 2],
    reward=SCORE,
    extras={"matched": MATCHED},
    **columns,
  )


def test_uis1_returns_stop_at_a_mismatch():
  check(advantages(credit.linked_returns(0.5), along_an_expert()), RETURNS)


@pytest.mark.parametrize(
  ("settings", "want"),
  [
    (  # uis1_AS.
      {"episode_weight": 0.0},
      [-0.164957, -0.233189, 0, 1.07222, 1.095989, 0, -0.907263, -0.8628],
    ),
    (  # uis1_A_paper.
      {},
      [
        *[0.222537, 0.154305, 0.387494, 1.820484],
        *[1.844254, 0.748264, -2.043021, -1.998558],
      ],
    ),
    (  # uis1_A_official.
      {"episode": "own", "vote": "step", "lone": "raw"},
      [
        *[0.496479, -0.894625, 0.661436, 1.733656],
        *[1.757425, 0.661436, -1.568699, -2.847108],
      ],
    ),
  ],
)
def test_uis1_of_the_worked_example(settings, want):
  made = recipes.ui_s1(**settings)
  check(advantages(made.credit, along_an_expert()), want)


def test_a_patched_trajectory_is_one_trajectory():
  """Pieces in rows of their own, with padding between, change nothing."""
  steps = along_an_expert()
  at = np.array([0, 1, 4, 8, 9, 10, 16, 20])
  live = np.zeros(24, bool)
  live[at] = True

  def widen(x):
    wide = np.full(24, 7, np.asarray(x).dtype)
    wide[at] = np.asarray(x)
    return jnp.asarray(wide)

  wide = jax.tree.map(widen, steps)
  wide = dataclasses.replace(wide, weight=jnp.asarray(live, jnp.float32))
  made = recipes.ui_s1()
  got = advantages(made.credit, wide)
  check(np.asarray(got)[at], advantages(made.credit, steps))
  assert not np.asarray(got)[~live].any()


def test_a_lone_trajectory_of_uis1_gets_0_or_its_outcome():
  one = credit.step_table(
    trajectory=[0, 0], reward=[1.0, 0.1], extras={"matched": [1, 0]}
  )
  check(advantages(recipes.ui_s1().credit, one), [0, 0])
  check(advantages(recipes.ui_s1(lone="raw").credit, one), [1.1, 1.1])


def ragged(seed):
  """Rows of ragged trajectories, with padding in any place."""
  rng = np.random.default_rng(seed)
  size = 20
  trajectory = np.sort(rng.integers(0, rng.integers(1, 7), size))
  return credit.step_table(
    trajectory=trajectory,
    reward=np.round(rng.normal(size=size), 2),
    weight=rng.random(size) < 0.8,
    extras={
      "matched": rng.integers(0, 2, size),
      "all": np.ones(size),
      "none": np.zeros(size),
    },
  )


@jax.jit
def laws(steps):
  links = {
    "linked": credit.linked_returns(0.5),
    "all": credit.linked_returns(0.5, "all"),
    "none": credit.linked_returns(0.5, "none"),
    "returns": credit.returns(0.5),
    "rewards": credit.rewards(),
  }
  return {
    name: credit.advantages(link, (), steps)[0] for name, link in links.items()
  }


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_uis1_with_every_step_matching_is_the_discounted_return(seed):
  """L28, and its other end: where none matches there is only the reward."""
  steps = ragged(seed)
  found = laws(steps)
  check(found["all"], found["returns"])
  check(found["none"], found["rewards"])
  # The definition, step by step.
  want = np.zeros(len(steps.reward))
  for one in np.unique(steps.trajectory):
    rows = np.flatnonzero((steps.trajectory == one) & (steps.weight > 0))
    after, link = 0.0, 0.0
    for row in rows[::-1]:
      own = float(steps.extras["matched"][row])
      after = float(steps.reward[row]) + 0.5 * own * link * after
      want[row], link = after, own
  check(found["linked"], want)


def test_a_discount_is_a_fraction():
  with pytest.raises(ValueError, match="discount=1.5"):
    credit.linked_returns(1.5)


@pytest.mark.parametrize(
  ("made", "verbs"),
  [
    (recipes.rapo, {"buffer", "edit"}),
    (recipes.ui_s1, {"edit", "continue_from", "filter"}),
    (recipes.sharp, {"edit", "continue_from", "score"}),
    (recipes.hi_agent, {"continue_from", "score"}),
    (recipes.step_gui, {"edit", "continue_from"}),
    (recipes.erl, {"edit", "continue_from"}),
    (recipes.pacore, {"edit", "continue_from", "filter", "buffer"}),
  ],
)
def test_a_method_says_which_verbs_it_uses(made, verbs):
  recipe = made()
  assert verbs <= set(recipe.plan.needs)
  assert set(recipe.plan.needs) <= {*recipe.verbs}


def test_a_plan_can_be_left_out():
  plain = [
    recipes.rapo(replayed=False),
    recipes.step_gui(hints=False),
    recipes.hi_agent(look_ahead=0),
    recipes.pacore(most=0),
  ]
  for recipe in plain:
    assert recipe.plan.needs == ("sample",)
