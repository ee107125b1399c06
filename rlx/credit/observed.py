"""Statistics that also count what the policy read between its own tokens."""

import jax
import jax.numpy as jnp

from rlx.credit import chains, estimator, groups


def whiten_with_observations(
  ddof: float = 1.0, eps: float = 1e-8
) -> estimator.Estimator:
  """`links.whiten`, with statistics over observations as well.

  An observation is a row of weight 0 between two steps of one trajectory, as a
  token that was retrieved is in a table of tokens. It counts as a row with the
  signal of the step that follows. It gets 0, as all that is no step.

  For parity with code that whitens over whole responses. Here such rows are not
  inert, so that a trajectory must stand in one sequence, without padding in it.
  """

  def f(x, steps):
    live = steps.weight > 0
    here = jnp.arange(live.shape[0], dtype=jnp.int32)
    last = jax.lax.cummax(jnp.where(live, here, -1))
    goes_on = (last >= 0) & (steps.continues[jnp.maximum(last, 0)] > 0)
    between = ~live & goes_on
    x = jnp.where(between, chains.following(x, steps), x)
    vote = (live | between).astype(x.dtype)
    group = groups.moments(x, None, vote, ddof)
    out = group.centred / jnp.sqrt(group.std**2 + eps)
    return jnp.where(group.flat | group.lone, 0.0, out)

  return estimator.stateless(f)
