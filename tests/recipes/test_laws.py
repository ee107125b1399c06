"""Identities between methods on random tables: values, trees, gates, losses.

Those of groups and states stand in `test_state_laws`, of single levels of trees
in `test_tree_methods`, of links in `tests/credit`. The tables are ragged, with
padding in any place, and all methods are compiled into one program.
"""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch, credit, objective, recipes
from rlx.credit import gains, trees

SIZE = 20
settings = hypothesis.settings(max_examples=10, deadline=None)
seeds = hypothesis.given(st.integers(0, 2**32 - 1))


def ragged(seed: int) -> batch.Steps:
  """Ragged trajectories; the value before a step is that after the last one."""
  rng = np.random.default_rng(seed)
  trajectory = np.sort(rng.integers(0, rng.integers(1, 9), SIZE))
  live = rng.random(SIZE) < 0.8
  after, before, base = rng.random(SIZE), np.zeros(SIZE), {}
  for row in np.flatnonzero(live):
    one = trajectory[row]
    before[row] = base.get(one, 0.5)
    base[one] = after[row]
  return credit.step_table(
    trajectory=trajectory,
    prompt=trajectory // rng.integers(1, 5),
    tree=trajectory,
    # Halves: many groups are alive, and many are dead.
    reward=rng.integers(0, 2, SIZE) / 2,
    state=rng.integers(0, 3, SIZE),
    role=rng.integers(0, 2, SIZE),
    weight=live,
    extras={
      "value_before": before,
      "value_after": after,
      "process": rng.normal(size=SIZE),
      "implicit_reward": rng.normal(size=SIZE),
      "exploration": rng.normal(size=SIZE),
      "marginal": rng.random(SIZE),
      "tool": rng.random(SIZE),
    },
  )


LAST = credit.chain(
  credit.outcome(),
  # What stands on a leaf is all that a tree reads.
  credit.stateless(lambda x, steps: jnp.where(steps.continues > 0, 0.0, x)),
)
METHODS = {
  "grpo": recipes.grpo().credit,
  "rloo": recipes.rloo().credit,
  "gain": gains.gain(),
  "gains to come": credit.chain(gains.gain(), credit.returns(1.0)),
  "looked ahead": credit.chain(gains.gain(), gains.look_ahead(0.7, 4)),
  "pav": recipes.pav(alpha=0.5, best_of=1, baseline=True).credit,
  "pav, prover": recipes.pav(alpha=1.0, best_of=4, baseline=True).credit,
  "verl": recipes.verl(kappa=1e9).credit,
  "rapo": recipes.rapo().credit,
  "oprl, 0": recipes.oprl(step_weight=0.0).credit,
  "oprl": recipes.oprl().credit,
  "portool": recipes.portool(max_depth=SIZE).credit,
  "portool, 0": recipes.portool(max_depth=SIZE, fork_weight=0.0).credit,
  "fused": credit.chain(
    credit.outcome(), trees.fuse(max_depth=SIZE, discount=0.9)
  ),
  "returned": credit.chain(LAST, credit.returns(0.9)),
  "leaves": credit.chain(
    credit.outcome(), trees.fuse(max_depth=SIZE, discount=0.9, vote="leaf")
  ),
  "step_grpo": recipes.step_grpo().credit,
  "hi_agent": recipes.hi_agent().credit,
  "sharp": recipes.sharp().credit,
  "whiten": credit.chain(credit.evidence("process"), credit.whiten()),
}
# Of rows that are compared by keys alone, any order will do.
UNORDERED = ("grpo", "rloo", "step_grpo", "hi_agent", "sharp", "whiten")
KINDS = ("pav", "rapo", "oprl", "portool", "fused", "looked ahead")


def assign(table, names=tuple(METHODS)):
  links = {name: METHODS[name] for name in names}
  return {
    name: credit.advantages(link, link.init(), table)[0]
    for name, link in links.items()
  }


assigned = jax.jit(assign, static_argnames="names")


def check(got, want, name="", atol=2e-5):
  np.testing.assert_allclose(got, want, atol=atol, err_msg=name)


def rows_of(table):
  """The live rows of each trajectory."""
  live = np.asarray(table.weight) > 0
  each = np.asarray(table.trajectory)
  return [np.flatnonzero(live & (each == t)) for t in np.unique(each[live])]


@settings
@seeds
def test_changes_of_value_telescope(seed):
  """L10, and with it that PAV's progress sums to what was gained."""
  table = ragged(seed)
  got = assigned(table)
  for rows in rows_of(table):
    last = table.extras["value_after"][rows[-1]]
    check(got["gain"][rows].sum(), last - 0.5)
    check(got["gains to come"][rows[0]], last - 0.5)


@settings
@seeds
def test_where_every_thought_counts_nothing_is_looked_ahead_for(seed):
  """L11."""
  got = assigned(ragged(seed))
  np.testing.assert_array_equal(got["looked ahead"], got["gain"])


@settings
@seeds
def test_a_prover_that_is_the_policy_is_one_more_of_its_advantage(seed):
  """L15."""
  got = assigned(ragged(seed))
  check(got["pav"], 1.5 * got["gain"])


@settings
@seeds
def test_a_prover_that_always_or_never_succeeds_tells_nothing(seed):
  table = ragged(seed)
  for value in (0.0, 1.0):
    same = dict.fromkeys(("value_before", "value_after"), jnp.full(SIZE, value))
    flat = dataclasses.replace(table, extras=table.extras | same)
    check(assigned(flat)["pav, prover"], 0)


@settings
@seeds
def test_gates_that_are_open_or_closed(seed):
  """L16; RAPO with all groups alive is GRPO; OPRL without steps is RLOO."""
  table = ragged(seed)
  got = assigned(table)
  check(got["verl"], got["grpo"])
  check(got["oprl, 0"], got["rloo"])
  prompt, live = np.asarray(table.prompt), np.asarray(table.weight) > 0
  alive = [
    np.asarray(got["grpo"])[live & (prompt == p)].any()
    for p in np.unique(prompt[live])
  ]
  check(got["rapo"], got["grpo"] * (len(alive) / max(sum(alive), 1)))


@settings
@seeds
def test_trees_that_are_chains_are_chains(seed):
  """L26; a node with one child has its discounted value, however it votes."""
  got = assigned(ragged(seed))
  check(got["fused"], got["returned"])
  check(got["leaves"], got["returned"])


@settings
@seeds
def test_portool_without_forks_compares_trajectories_only(seed):
  """The law of f = 1: each trajectory is a tree of its own."""
  table = ragged(seed)
  got = assigned(table)
  every, prompt = rows_of(table), np.asarray(table.prompt)
  # A first step is the only child of its root, as all others are.
  check(got["portool"], got["portool, 0"])
  sums = {
    rows[-1]: table.outcome[rows[0]] * (0.95 ** np.arange(len(rows))).sum()
    for rows in every
  }
  for rows in every:
    x = np.array([sums[r] for r in sums if prompt[r] == prompt[rows[0]]])
    spread = x.std(ddof=1) if len(x) > 1 else 0.0
    want = (sums[rows[-1]] - x.mean()) / (spread + 1e-6) if spread else 0.0
    check(got["portool"][rows], want, atol=1e-4)


@settings
@seeds
def test_rows_that_keys_compare_may_stand_in_any_order(seed):
  """L6."""
  table = ragged(seed)
  order = jnp.asarray(np.random.default_rng(seed + 1).permutation(SIZE))
  moved = assigned(jax.tree.map(lambda x: x[order], table))
  want = assigned(table)
  for name in UNORDERED:
    check(moved[name], want[name][order], name, 1e-4)


@settings
@seeds
def test_a_prompt_of_padding_has_no_credit_and_is_in_no_other(seed):
  """L29 and L30."""
  table = ragged(seed)
  gone = table.prompt == table.prompt[0]
  weight = jnp.where(gone, 0.0, table.weight)
  junk = lambda x: (
    jnp.where(gone, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x
  )
  filled = dataclasses.replace(jax.tree.map(junk, table), weight=weight)
  empty = dataclasses.replace(table, weight=weight)
  got, want = assigned(filled), assigned(empty)
  for name, x in got.items():
    np.testing.assert_array_equal(x, want[name], name)
    assert np.isfinite(x).all(), name
    assert not np.asarray(x)[np.asarray(weight) == 0].any(), name


def test_all_hold_under_vmap():
  tables = [ragged(seed) for seed in range(3)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *tables)
  got = jax.jit(jax.vmap(lambda t: assign(t, KINDS)))(stacked)
  for at, table in enumerate(tables):
    want = assigned(table)
    for name in KINDS:
      check(got[name][at], want[name], name, 1e-4)


def loss(made, new, advantages, mask, gap):
  zeros = jnp.zeros(mask.shape)
  old = jax.lax.stop_gradient(new)
  return made.objective.loss(
    objective.TokenInputs(
      log_probs=new,
      entropy=zeros,
      advantages=advantages,
      mask=mask,
      weights=made.objective.weights(mask),
      segment=jnp.zeros(mask.shape, jnp.int32),
      old_log_probs=old,
      sampler_log_probs=old - gap,
      values=zeros,
      old_values=zeros,
      returns=zeros,
    )
  )[0]


slopes = {
  method.__name__: jax.jit(
    jax.grad(lambda *x, made=method(): loss(made, *x), argnums=0)
  )
  for method in (recipes.mis_po, recipes.reinforce)
}


@settings
@seeds
def test_mis_po_is_reinforce_where_nothing_disagrees_and_nothing_where_all_do(
  seed,
):
  rng = np.random.default_rng(seed)
  new, advantages = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
  mask = jnp.asarray(rng.random((3, 4)) < 0.7)
  given = (new, advantages, mask)
  got = slopes["mis_po"](*given, jnp.zeros((3, 4)))
  check(got, slopes["reinforce"](*given, jnp.zeros((3, 4))))
  # A batch that is rejected as a whole has no gradient, and no NaN.
  got = slopes["mis_po"](*given, jnp.full((3, 4), 3.0))
  np.testing.assert_array_equal(got, 0)
