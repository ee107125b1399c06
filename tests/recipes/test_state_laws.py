"""Identities between methods that are keys over columns, on random tables.

The tables are ragged, with padding in any place, and all methods are compiled
into one program.
"""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch, credit, recipes
from rlx.credit import history, random_groups

SIZE = 24
settings = hypothesis.settings(max_examples=10, deadline=None)
seeds = hypothesis.given(st.integers(0, 2**32 - 1))
EXTRAS = ("process", "consistency", "marginal", "tool", "reference_reward/0")


def ragged(seed: int) -> batch.Steps:
  """Rows of ragged trajectories of a few prompts, with padding anywhere."""
  rng = np.random.default_rng(seed)
  trajectory = np.sort(rng.integers(0, rng.integers(1, 9), SIZE))
  draw = lambda n: rng.integers(0, n, SIZE)
  return credit.step_table(
    trajectory=trajectory * 1000,
    prompt=trajectory // rng.integers(1, 5),
    reward=np.round(rng.normal(size=SIZE), 2),
    state=draw(3),
    action=draw(2),
    next_state=draw(2),
    role=draw(2),
    weight=rng.random(SIZE) < 0.8,
    extras={name: rng.integers(0, 5, SIZE) / 4 for name in EXTRAS},
  )


WHOLE = credit.add(
  recipes.grpo().credit,
  credit.scale(
    credit.chain(credit.evidence("process"), credit.standardise()), 0.5
  ),
)
STEP = credit.standardise(by=("prompt", "state"), ddof=0.0)
METHODS = {
  "grpo": recipes.grpo().credit,
  "salt": recipes.salt().credit,
  "salt, history": recipes.salt(history=2).credit,
  "hgpo": recipes.hgpo().credit,
  "hgpo, 0": recipes.hgpo(history=0).credit,
  "step": credit.chain(credit.returns(0.95), STEP),
  "graft": recipes.graft().credit,
  "values": credit.chain(credit.outcome(), credit.graph_values(0.9, 400)),
  "rtmc": recipes.rtmc().credit,
  "srgpo, all": recipes.srgpo(group_rows=-1).credit,
  "whole": WHOLE,
  "step_grpo": recipes.step_grpo().credit,
  "self_grpo": recipes.self_grpo().credit,
  "self_grpo, 0": recipes.self_grpo(agreement=0.0).credit,
  "prime_gate": recipes.prime_gate().credit,
  "par": recipes.par().credit,
  "par, 0": recipes.par(slope=0.0).credit,
  "sharp": recipes.sharp().credit,
  "sharp, 0": recipes.sharp(marginal_weight=0.0, tool_weight=0.0).credit,
  "dr_mas": recipes.dr_mas().credit,
  "hi_agent": recipes.hi_agent().credit,
}


# One of each kind of link, for what takes another compilation.
KINDS = ("salt, history", "hgpo", "graft", "srgpo, all")


def assign(table, names=tuple(METHODS)):
  links = {name: METHODS[name] for name in names}
  return {
    name: credit.advantages(link, link.init(), table)[0]
    for name, link in links.items()
  }


assigned = jax.jit(assign, static_argnames="names")


def check(got, want, atol=2e-5, name=""):
  np.testing.assert_allclose(got, want, atol=atol, err_msg=name)


def check_same(got, want, *pairs, atol=2e-5):
  for a, b in pairs:
    check(got[a], want[b], atol, f"{a} = {b}")


@settings
@seeds
def test_what_a_method_is_with_its_own_part_taken_out(seed):
  got = assigned(ragged(seed))
  check_same(
    got,
    got,
    ("self_grpo, 0", "grpo"),
    ("sharp, 0", "dr_mas"),
    ("srgpo, all", "whole"),
  )
  check(got["hgpo, 0"], got["step"], 1e-4)
  np.testing.assert_array_equal(got["par, 0"], 0)


@settings
@seeds
def test_what_a_method_is_where_no_row_has_a_peer(seed):
  table = ragged(seed)
  table = dataclasses.replace(
    table, state=jnp.arange(SIZE), role=jnp.zeros(SIZE, jnp.int32)
  )
  got = assigned(table)
  check_same(
    got,
    got,
    ("salt", "grpo"),
    ("salt, history", "grpo"),
    ("dr_mas", "grpo"),
  )
  for name in ("hgpo", "graft", "rtmc"):
    check(got[name], 0, name=name)


@settings
@seeds
def test_a_gate_that_is_open_is_not_there(seed):
  table = ragged(seed)
  extras = table.extras | {"process": jnp.ones(SIZE, jnp.float32)}
  binary = (table.outcome > 0.5).astype(jnp.float32)
  got = assigned(dataclasses.replace(table, outcome=binary, extras=extras))
  check(got["prime_gate"], got["grpo"])


@settings
@seeds
def test_sums_over_groups_are_zero(seed):
  table = ragged(seed)
  got = assigned(table)
  live = np.asarray(table.weight) > 0
  prompt, state = np.asarray(table.prompt), np.asarray(table.state)
  role = np.asarray(table.role)
  for p in np.unique(prompt):
    rows = live & (prompt == p)
    # Averaging over transitions moves credit, and makes none.
    moved = np.asarray(got["salt"])[rows].sum()
    check(moved, np.asarray(got["grpo"])[rows].sum(), 1e-4)
    for s in range(3):
      for name in ("rtmc", "graft"):
        check(np.asarray(got[name])[rows & (state == s)].sum(), 0, 1e-4, name)
  for r in range(2):
    rows = live & (role == r)
    _, at, times = np.unique(
      np.asarray(table.trajectory)[rows],
      return_inverse=True,
      return_counts=True,
    )
    for name in ("dr_mas", "sharp"):
      x = np.asarray(got[name])[rows]
      check(np.sum(x / times[at]), 0, 1e-4, name)


@settings
@seeds
def test_equal_rewards_and_evidence_teach_nothing(seed):
  table = ragged(seed)
  extras = {name: jnp.full(SIZE, 0.7, jnp.float32) for name in EXTRAS}
  zero = jnp.zeros(SIZE)
  table = dataclasses.replace(table, reward=zero, outcome=zero, extras=extras)
  for name, x in assigned(table).items():
    np.testing.assert_array_equal(x, 0, err_msg=name)


@settings
@seeds
def test_trajectories_may_stand_in_any_order(seed):
  table, rng = ragged(seed), np.random.default_rng(seed + 1)
  names = rng.permutation(np.unique(np.asarray(table.trajectory)))
  where = [np.flatnonzero(np.asarray(table.trajectory) == t) for t in names]
  order = jnp.asarray(np.concatenate(where))
  got = assigned(jax.tree.map(lambda x: x[order], table))
  for name, want in assigned(table).items():
    check(got[name], want[order], 1e-4, name)


@settings
@seeds
def test_where_padding_stands_and_what_it_holds_does_not_matter(seed):
  table, rng = ragged(seed), np.random.default_rng(seed + 1)
  live = np.asarray(table.weight) > 0
  order = jnp.asarray(np.argsort(~live, kind="stable"))
  together = jax.tree.map(lambda x: x[order], table)

  def junk(x):
    if x is table.weight:
      return x
    if jnp.issubdtype(x.dtype, jnp.floating):
      return jnp.where(live, x, jnp.nan)
    noise = rng.integers(0, 3, SIZE).astype(np.int32)
    return jnp.where(live, x, noise)

  filled = jax.tree.map(junk, table)
  # Rows of a trajectory still have to be told apart by the rows that are live.
  got = assigned(filled)
  for name, want in assigned(together).items():
    check(got[name][order], want, 1e-4, name)
    np.testing.assert_array_equal(np.asarray(got[name])[~live], 0, name)


@settings
@seeds
def test_the_graph_solves_its_equation(seed):
  table = ragged(seed)
  live = np.flatnonzero(np.asarray(table.weight) > 0)
  nodes = {}
  for i in live:
    key = (int(table.prompt[i]), int(table.state[i]))
    nodes.setdefault(key, []).append(i)
  index = {i: at for at, rows in enumerate(nodes.values()) for i in rows}
  a, b = np.eye(len(nodes)), np.zeros(len(nodes))
  for at, rows in enumerate(nodes.values()):
    for i in rows:
      if table.continues[i] > 0:
        a[at, index[live[live > i][0]]] -= 0.9 / len(rows)
      else:
        b[at] += 0.9 * float(table.outcome[i]) / len(rows)
  values = np.linalg.solve(a, b)
  want = np.zeros(SIZE)
  want[live] = values[[index[i] for i in live]]
  check(assigned(table)["values"], want, 1e-4)


before = jax.jit(
  lambda t: [history.before("state", back)(t) for back in range(4)]
)


@settings
@seeds
def test_history_looks_back_over_the_trajectorys_own_live_rows(seed):
  table = ragged(seed)
  live = np.asarray(table.weight) > 0
  for back, got in enumerate(before(table)):
    for i in np.flatnonzero(live):
      mine = live & (np.asarray(table.trajectory) == int(table.trajectory[i]))
      past = [j for j in np.flatnonzero(mine) if j <= i]
      there = len(past) > back
      want = int(table.state[past[-1 - back]]) if there else history.NOTHING
      assert got[i] == want


partition = jax.jit(random_groups.partition, static_argnames="size")


@settings
@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([-1, 1, 4, 99]))
def test_random_groups_are_full_and_padding_takes_no_place(seed, size):
  rng = np.random.default_rng(seed)
  scope, live = rng.integers(0, 3, SIZE), rng.random(SIZE) < 0.7
  draw = rng.permutation(SIZE).astype(np.uint32)
  key = np.asarray(
    partition(
      jnp.asarray(draw), jnp.asarray(scope, jnp.int32), jnp.asarray(live), size
    )
  )
  assert (key[~live] == SIZE).all()
  seen = set()
  for s in range(3):
    rows = live & (scope == s)
    ids, counts = np.unique(key[rows], return_counts=True)
    assert not seen & set(ids)
    seen |= set(ids)
    full = rows.sum() if size < 1 else size
    assert len(ids) == (-(-rows.sum() // full) if rows.any() else 0)
    assert (np.sort(counts)[1:] == full).all()
    # In the order of the draw.
    assert (np.diff(key[rows][np.argsort(draw[rows])]) >= 0).all()


def test_all_hold_under_vmap():
  tables = [ragged(seed) for seed in range(3)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *tables)
  got = jax.jit(jax.vmap(lambda t: assign(t, KINDS)))(stacked)
  for at, table in enumerate(tables):
    want = assigned(table)
    for name in KINDS:
      check(got[name][at], want[name], 1e-4, name)


def test_all_work_in_float64_and_agree_with_float32():
  table = ragged(0)
  want = assigned(table)
  with jax.enable_x64(True):
    wide = jax.tree.map(
      lambda x: (
        jnp.asarray(np.asarray(x), jnp.float64)
        if jnp.issubdtype(x.dtype, jnp.floating)
        else jnp.asarray(np.asarray(x))
      ),
      table,
    )
    got = assigned(wide, KINDS)
    for name, x in got.items():
      assert x.dtype == jnp.float64, name
  for name, x in got.items():
    check(x, want[name], 2e-4, name)
