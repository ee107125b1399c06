"""Rows of weight 0 are inert in every link, in value and in gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch, credit
from rlx.credit import first_steps

BY = ("prompt",)
LINKS = {
  "outcome": credit.outcome(),
  "rewards": credit.rewards(),
  "returns": credit.returns(0.9),
  "gae": credit.gae(0.9, 0.8),
  "bootstrap": credit.gae(0.9, 0.8, bootstrap="gain"),
  "lambda_returns": credit.lambda_returns(0.9, 0.8),
  "group": credit.standardise(by=BY, vote="vote"),
  "loo": credit.standardise(by=BY, center="loo", scale=None, lone="raw"),
  "state": credit.standardise(by=("prompt", "state")),
  "batch": credit.standardise(),
  "vote": credit.standardise(vote="gain"),
  "whiten": credit.whiten(),
  "merge": credit.merge(("state",), vote="vote"),
  "clip": credit.clip(1.0),
  "final": credit.final(),
  "product": credit.multiply(credit.rewards(), credit.evidence("gain")),
  "above": credit.above(0.1),
  "share": credit.standardise(by=BY, vote=credit.share("trajectory")),
  "before": credit.merge(by=("prompt", credit.before("state"))),
  "histories": credit.over_histories(history=1),
  "graph values": credit.graph_values(0.9, sweeps=3),
  "graph": credit.graph_gae(0.9, 0.5, sweeps=3),
  "first steps": first_steps.standardise_by_first_steps("loo", "std"),
  "random": credit.standardise_at_random(2),
  "random, within": credit.standardise_at_random(2, within=BY),
}


def all_links(table):
  update = lambda link: link.update(table.reward, link.init(), table)[0]
  return {name: update(link) for name, link in LINKS.items()}


def ragged() -> batch.Steps:
  rng = np.random.default_rng(0)
  return credit.step_table(
    trajectory=[0, 0, 0, 0, 5, 1, 1, 2, 2, 3, 3, 4],
    prompt=[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
    reward=rng.normal(size=12),
    state=[0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1],
    value=rng.normal(size=12),
    weight=[1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 0],
    extras={"gain": rng.random(12)},
  )


def test_padding_is_inert_in_value_and_gradient():
  table = ragged()
  live = table.weight > 0
  names = ("reward", "outcome", "value", "continues", "vote")
  floats = {name: getattr(table, name) for name in names} | table.extras
  scale = jnp.arange(1.0, 13.0)

  def value(junk):
    def f(floats):
      filled = jax.tree.map(lambda x: jnp.where(live, x, junk), floats)
      extras = {"gain": filled.pop("gain")}
      out = all_links(dataclasses.replace(table, **filled, extras=extras))
      return sum(jnp.sum(scale * x) for x in out.values()), out

    return jax.value_and_grad(f, has_aux=True)(floats)

  value = jax.jit(value)
  want = value(0.0)
  for name, out in want[0][1].items():
    assert jnp.isfinite(out).all(), name
    assert not jnp.where(live, 0.0, out).any(), name
  for junk in (jnp.nan, jnp.inf, -jnp.inf, 1e30):
    jax.tree.map(np.testing.assert_array_equal, value(junk), want)


def test_a_table_of_padding_gives_zeros():
  table = dataclasses.replace(ragged(), weight=jnp.zeros(12))
  for name, out in jax.jit(all_links)(table).items():
    np.testing.assert_array_equal(out, 0, err_msg=name)
