"""Identities between methods, on random ragged tables."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch, credit

SIZE = 16
settings = hypothesis.settings(max_examples=15, deadline=None)
BY = ("prompt",)


seeds = hypothesis.given(st.integers(0, 2**32 - 1))


def ragged(seed: int) -> batch.Steps:
  """Rows of ragged trajectories of a few prompts, with padding anywhere."""
  rng = np.random.default_rng(seed)
  trajectory = np.sort(rng.integers(0, rng.integers(1, 9), SIZE))
  prompt = trajectory // rng.integers(1, 5)
  return credit.step_table(
    trajectory=trajectory * 1000,
    prompt=prompt,
    reward=np.round(rng.normal(size=SIZE), 2),
    value=rng.normal(size=SIZE),
    state=rng.integers(0, 3, SIZE),
    weight=rng.random(SIZE) < 0.8,
  )


def compiled(*estimators):
  """The advantages of a table by each of the estimators, in one program."""
  return jax.jit(
    lambda t: [credit.advantages(e, e.init(), t)[0] for e in estimators]
  )


def check(got, want, atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol)


def grpo(**kwargs):
  link = credit.standardise(by=BY, vote="vote", **kwargs)
  return credit.chain(credit.outcome(), link)


def gigpo(step_weight=1.0):
  step = credit.standardise(by=("prompt", "state"))
  step = credit.chain(credit.returns(0.95), step)
  return credit.add(grpo(), credit.scale(step, step_weight))


both_gigpo = compiled(gigpo(), gigpo(0.0), grpo())


@settings
@seeds
def test_gigpo_is_grpo_where_no_state_recurs_or_steps_weigh_nothing(seed):
  table = ragged(seed)
  distinct = dataclasses.replace(table, state=jnp.arange(SIZE))
  step, _, episode = both_gigpo(distinct)
  check(step, episode)
  _, weightless, episode = both_gigpo(table)
  check(weightless, episode)


baselines = compiled(
  grpo(center="loo", scale=None, lone="raw"), grpo(scale=None)
)


@settings
@seeds
def test_leave_one_out_is_the_outcome_minus_the_mean_of_the_others(seed):
  table = ragged(seed)
  loo, centred = baselines(table)
  live = np.asarray(table.weight) > 0
  outcome = dict(
    zip(
      np.asarray(table.trajectory)[live],
      np.asarray(table.outcome, np.float64)[live],
      strict=True,
    )
  )
  prompt = np.asarray(table.prompt)
  for i in np.flatnonzero(live):
    mine = int(table.trajectory[i])
    peers = np.asarray(table.trajectory)[live & (prompt == prompt[i])]
    others = [outcome[t] for t in np.unique(peers) if t != mine]
    check(loo[i], outcome[mine] - (np.mean(others) if others else 0))
    n = len(others) + 1
    check(centred[i], loo[i] * (n - 1) / n if n > 1 else 0)


standardised = compiled(grpo(), grpo(eps=0.0), grpo(scale=None))


@settings
@seeds
def test_centred_advantages_sum_to_zero_over_the_trajectories(seed):
  table = ragged(seed)
  _, _, centred = standardised(table)
  prompt = np.asarray(table.prompt)
  for p in np.unique(prompt):
    check(np.sum(np.asarray(table.vote * centred)[prompt == p]), 0)


@settings
@seeds
def test_grpo_does_not_see_an_affine_map_of_the_outcomes(seed):
  table = ragged(seed)
  mapped = dataclasses.replace(table, outcome=3 * table.outcome + 7)
  check(standardised(mapped)[1], standardised(table)[1], atol=2e-4)


@settings
@seeds
def test_compiled_float32_agrees_with_float64(seed):
  table = ragged(seed)
  columns = {
    name: np.asarray(getattr(table, name), np.float64)
    for name in ("prompt", "outcome", "vote", "weight")
  }
  got = np.asarray(standardised(table)[0])
  for p in np.unique(columns["prompt"]):
    rows = (columns["prompt"] == p) & (columns["weight"] > 0)
    x, v = columns["outcome"][rows], columns["vote"][rows]
    n = round(v.sum())
    if n > 1:
      d = x - (v * x).sum() / n
      want = d / (np.sqrt((v * d**2).sum() / (n - 1)) + 1e-6)
      check(got[rows], want if np.ptp(x) > 1e-5 else 0)


everything = compiled(
  gigpo(),
  credit.returns(0.9),
  credit.gae(0.9, 0.8),
  credit.whiten(),
  credit.standardise(by=("prompt", "index")),
)


@settings
@seeds
def test_trajectories_may_stand_in_any_order(seed):
  table, rng = ragged(seed), np.random.default_rng(seed + 1)
  names = rng.permutation(np.unique(np.asarray(table.trajectory)))
  where = [np.flatnonzero(np.asarray(table.trajectory) == t) for t in names]
  order = jnp.asarray(np.concatenate(where))
  moved = jax.tree.map(lambda x: x[order], table)
  for got, want in zip(everything(moved), everything(table), strict=True):
    check(got, want[order])


@settings
@seeds
def test_names_of_prompts_and_trajectories_do_not_matter(seed):
  table, rng = ragged(seed), np.random.default_rng(seed + 1)
  new = rng.integers(-(2**31), 2**31 - 1, 2, dtype=np.int32)
  renamed = dataclasses.replace(
    table,
    # Wraps around, and stays one to one.
    prompt=table.prompt * 7919 + new[0],
    trajectory=table.trajectory * 7919 + new[1],
  )
  for got, want in zip(everything(renamed), everything(table), strict=True):
    check(got, want)


recursions = compiled(
  credit.gae(1.0, 1.0), credit.gae(1.0, 0.0), credit.returns(1.0)
)


@settings
@seeds
def test_gae_is_the_return_or_one_step_at_its_ends(seed):
  table = ragged(seed)
  full, one, returned = recursions(table)
  live = np.asarray(table.weight) > 0
  check(full + table.value * live, returned)
  for i in np.flatnonzero(live):
    later = [j for j in np.flatnonzero(live) if j > i]
    following = table.value[later[0]] if table.continues[i] else 0.0
    check(one[i], table.reward[i] + following - table.value[i])


@settings
@seeds
def test_an_undiscounted_reward_at_the_end_is_the_outcome_everywhere(seed):
  table = ragged(seed)
  ends = (table.weight > 0) & (table.continues == 0)
  last = dataclasses.replace(table, reward=jnp.where(ends, table.outcome, 0.0))
  check(recursions(last)[2], jnp.where(table.weight > 0, table.outcome, 0.0))


@settings
@seeds
def test_one_group_of_all_is_the_whole_batch(seed):
  table = ragged(seed)
  together = dataclasses.replace(table, prompt=jnp.full(SIZE, 5))
  whole, one = both_batch(together)
  check(one, whole)


both_batch = compiled(
  credit.standardise(), credit.standardise(by=("prompt", "tree"))
)


def test_a_million_sums_are_still_exact_enough():
  rng = np.random.default_rng(0)
  x = rng.normal(3.0, 0.5, 2**17).astype(np.float32)
  rows = np.zeros(len(x), np.int32)
  table = jax.tree.map(
    lambda column: jnp.resize(column, (len(x),)),
    credit.step_table(trajectory=[0], reward=[0.0]),
  )
  table = dataclasses.replace(table, trajectory=jnp.asarray(rows))
  want = (x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64, ddof=1)
  for by in ((), ("prompt",)):
    link = credit.standardise(by=by)
    check(jax.jit(link.update)(jnp.asarray(x), (), table)[0], want, 1e-4)
