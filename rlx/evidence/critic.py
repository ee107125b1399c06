"""A critic of steps: what the trajectory is expected to earn in all."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rlx import batch, metrics
from rlx.credit import chains
from rlx.evidence import linear, provider


def critic(
  context: provider.Context, *, learning_rate: float = 1e-2, updates: int = 4
) -> provider.Provider:
  """Fills "value_before" and "value_after" by regression to the outcome.

      V = w . h + b,   loss = mean over steps of (V - outcome)^2

  h is the policy's feature at the token before the first that was chosen in the
  step, a constant, scaled to unit length. "value_after" is the next step's
  value, and at the end of the trajectory the outcome itself. The batch is
  scored before it is learnt from: else its values would know its outcomes.

  Args:
    context: of the policy.
    learning_rate: of the critic's Adam.
    updates: steps on each batch.
  """
  transform = optax.adam(learning_rate)

  def init(key, params):
    del key
    return linear.init(transform, linear.width(context, params))

  def update(state, seen: provider.Seen):
    steps = seen.steps
    live = steps.weight > 0
    features = linear.features(
      context, seen.params, seen.rollout, steps, "before"
    )
    value = jnp.where(live, linear.apply(state["params"], features), 0.0)
    squares = lambda x: metrics.mean((x - steps.outcome) ** 2, live)
    target = jnp.where(live, steps.outcome, 0.0)
    error = lambda x: metrics.mean((x - target) ** 2, live).compute()
    state = linear.fit(
      transform, state, features, error, updates, jnp.any(live)
    )
    columns = {"value_before": value, "value_after": after(value, steps)}
    return state, columns, {"critic/loss": squares(value)}

  return provider.Provider(("value_before", "value_after"), init, update)


def after(value: Float[Array, " S"], steps: batch.Steps) -> Float[Array, " S"]:
  """The value before the next step; the outcome at a trajectory's end."""
  live = steps.weight > 0
  later = chains.following(value, steps)
  out = jnp.where(steps.continues > 0, later, steps.outcome)
  return jnp.where(live, out, 0.0)
