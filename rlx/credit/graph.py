"""Values of states on the graph that a prompt's trajectories drew together.

The nodes are the states that were met, told apart by the columns `by`. Each row
is an edge, from its own node to that of the trajectory's next step, or from the
last step into a sink that is worth the trajectory's outcome.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rlx import batch
from rlx.credit import chains, estimator, groups, kernels

NODE = ("prompt", "state")


def graph_values(
  discount: float = 0.99, sweeps: int = 32, by: Sequence[groups.By] = NODE
) -> estimator.Estimator:
  """V of each row's node, with the signal as what the sinks are worth.

      V(u) = discount * mean over the edges u -> v of V(v)

  An edge counts as often as it was taken. Starts from the mean discounted
  return of each node, which is exact where trajectories do not cross, and makes
  a fixed number of sweeps; what is exact spreads by an edge a sweep, and
  elsewhere the error shrinks by `discount` a sweep.

  Raises:
    ValueError: `discount` is not in [0, 1], or `sweeps` is negative.
  """
  _check(discount, sweeps)
  return estimator.stateless(
    lambda signal, steps: _values(signal, steps, discount, sweeps, by)[0]
  )


def graph_gae(
  discount: float = 0.99,
  lambda_: float = 0.95,
  sweeps: int = 32,
  by: Sequence[groups.By] = NODE,
) -> estimator.Estimator:
  """Generalised advantages of the values of `graph_values`.

      delta(u -> v) = discount * V(v) - V(u)
      A[t] = delta[t] + discount * lambda_ * A[t + 1] along the trajectory

  With lambda_ 0 it is the residual alone, whose mean over a node's edges is 0.

  Raises:
    ValueError: a fraction is not in [0, 1], or `sweeps` is negative.
  """
  _check(discount, sweeps)
  if not 0.0 <= lambda_ <= 1.0:
    raise ValueError(f"lambda_={lambda_} is not between 0 and 1")

  def f(signal, steps):
    value, target = _values(signal, steps, discount, sweeps, by)
    delta = jnp.where(steps.weight > 0, target - value, 0.0)
    return kernels.propagate(
      delta, chains.continuation(steps, discount * lambda_)
    )

  return estimator.stateless(f)


def _values(
  outcome: Float[Array, " S"],
  steps: batch.Steps,
  discount: float,
  sweeps: int,
  by: Sequence[groups.By],
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
  """V of the row's node, and discount * V of where its edge leads."""
  live = groups.votes(steps)
  key = groups.key(steps, by)
  key = jnp.where(live > 0, 0, live.shape[0]) if key is None else key
  size = key.shape[0] + 1
  count = jax.ops.segment_sum(live, key, size)
  later = chains.later(steps)
  last = later < 0
  target_node = jnp.where(last, size - 1, key[jnp.maximum(later, 0)])
  mean = lambda x: jnp.where(
    count > 0,
    jax.ops.segment_sum(live * x, key, size) / jnp.maximum(count, 1.0),
    0.0,
  )
  # A node's own mean is of its live edges; padding sits in the last one.
  follow = lambda v: discount * jnp.where(last, outcome, v[target_node])
  paid = jnp.where(last, discount * outcome, 0.0)
  value = mean(kernels.propagate(paid, chains.continuation(steps, discount)))
  value = jax.lax.fori_loop(0, sweeps, lambda _, v: mean(follow(v)), value)
  return value[key], follow(value)


def _check(discount: float, sweeps: int) -> None:
  if not 0.0 <= discount <= 1.0:
    raise ValueError(f"discount={discount} is not between 0 and 1")
  if sweeps < 0:
    raise ValueError(f"sweeps={sweeps}: must be 0 or more")
