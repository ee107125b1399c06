"""A provider that sees a batch in parts, one a device, says the same."""

import jax
import numpy as np
import pytest

from rlx import sharding
from tests.evidence import shown, test_providers


@pytest.mark.parametrize("name", ["implicit_reward", "alignment", "progress"])
def test_sharded_is_unsharded(name):
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices())
  by_row = sharding.batch_sharding(mesh)
  everywhere = sharding.replicated(mesh)
  each = test_providers.FACTORIES[name](shown.context(100))
  seen = test_providers.seen()
  state = each.init(jax.random.key(0), shown.PARAMS)
  put = lambda tree, place: jax.tree.map(
    lambda x: jax.device_put(x, place), tree
  )
  apart = shown.provider.Seen(
    put(seen.params, everywhere),
    put(seen.rollout, by_row),
    put(seen.steps, everywhere),
    put(seen.old_log_probs, by_row),
  )
  whole = jax.jit(each.update)(state, seen)
  parts = jax.jit(each.update)(put(state, everywhere), apart)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), parts, whole
  )
