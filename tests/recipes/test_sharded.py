"""The credit of every recipe is the same with the table on two devices."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from rlx import credit, recipes, sharding
from rlx.bench import credit_table

ROWS = 32 * 2  # A trajectory a device, so that a group spans both.
MADE = [method() for method in recipes.ALL]


@pytest.fixture(scope="module")
def both():
  """Everybody's credit and new state, unsharded and sharded."""
  every = tuple(dict.fromkeys(x for made in MADE for x in made.evidence))
  asks = dataclasses.replace(recipes.grpo(), evidence=every)
  table = credit_table.make(asks, ROWS)
  states = {made.name: made.credit.init() for made in MADE}

  @jax.jit  # One program for all, as compiling is what takes time.
  def update(table):
    return {
      made.name: credit.advantages(made.credit, states[made.name], table)
      for made in MADE
    }

  mesh = sharding.make_mesh(sharding.MeshConfig(data=2), jax.devices()[:2])
  split = NamedSharding(mesh, PartitionSpec("data"))
  return update(table), update(jax.device_put(table, split))


@pytest.mark.parametrize("name", [made.name for made in MADE])
def test_sharded_credit_is_unsharded_credit(both, name):
  (want, want_state), (got, got_state) = both[0][name], both[1][name]
  assert np.asarray(want).any()
  np.testing.assert_allclose(got, want, atol=2e-5)
  jax.tree.map(np.testing.assert_array_equal, got_state, want_state)
