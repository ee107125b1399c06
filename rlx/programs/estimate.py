"""What is worked out about a whole batch before the first update."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from rlx import batch as batches
from rlx import metrics
from rlx.credit import estimator
from rlx.credit import tokens as spreads
from rlx.evidence import provider
from rlx.programs.tokens import Batch


def observe(providers, evidence, params, batch: Batch, steps: batches.Steps):
  """Lets the providers learn, and returns the table with their columns."""
  seen = provider.Seen(
    params["policy"], batch.rollout, steps, batch.old_log_probs
  )
  states, extras, found = [], dict(steps.extras), {}
  for each, state in zip(providers, evidence, strict=True):
    state, columns, more = each.update(state, jax.lax.stop_gradient(seen))
    live = steps.weight > 0
    extras |= {name: jnp.where(live, x, 0.0) for name, x in columns.items()}
    states.append(state)
    found |= more
  return tuple(states), dataclasses.replace(steps, extras=extras), found


def estimate(recipe, batch: Batch, credit, steps: batches.Steps):
  """Returns the batch with an advantage on each chosen token."""
  table = steps
  if recipe.level == "token":
    table = spreads.token_table(
      batch.rollout,
      steps,
      values=batch.old_values,
      log_probs=batch.old_log_probs,
      ref_log_probs=batch.ref_log_probs,
      kl_in_reward=recipe.kl_in_reward,
    )
    if recipe.bootstraps:
      table = _with_bootstrap(batch, table)
  signal, credit = estimator.advantages(recipe.credit, credit, table)
  returns = jnp.zeros_like(signal)
  if recipe.value_targets is not None:
    targets = recipe.value_targets
    returns, _ = estimator.advantages(targets, targets.init(), table)
  if recipe.level == "token":
    mask = batch.rollout.mask
    spread = lambda x: jnp.where(mask, x.reshape(mask.shape), 0.0)
  else:
    spread = lambda x: spreads.spread(x, batch.rollout.segment)
  live = table.weight > 0
  found = {
    "step/adv_mean": metrics.mean(signal, live),
    "step/adv_square": metrics.mean(signal**2, live),
    "step/adv_max": metrics.maximum(signal, live),
    "step/adv_min": metrics.minimum(signal, live),
    "step/zero_adv": metrics.mean((signal == 0).astype(jnp.float32), live),
  }
  batch = dataclasses.replace(
    batch, advantages=spread(signal), returns=spread(returns)
  )
  if recipe.keep is not None:
    kept = recipe.keep(batch.rollout, steps, batch.advantages)
    found["step/kept"] = metrics.mean(
      kept.astype(jnp.float32), batch.rollout.mask
    )
    rollout = dataclasses.replace(batch.rollout, mask=batch.rollout.mask & kept)
    batch = dataclasses.replace(batch, rollout=rollout)
  return batch, credit, found


def _with_bootstrap(batch: Batch, table: batches.Steps) -> batches.Steps:
  """Returns the table of tokens with the value behind what was truncated.

  Of a row without room for another token it is the value before its last one.
  """
  valid = batch.rollout.valid
  end = jnp.minimum(jnp.sum(valid, axis=1), valid.shape[1] - 1)
  behind = jnp.take_along_axis(batch.old_values, end[:, None], axis=1)
  behind = jnp.broadcast_to(behind, valid.shape).reshape(-1)
  value = table.extras["truncated"] * behind
  return dataclasses.replace(
    table, extras={**table.extras, "bootstrap_value": value}
  )


def weigh(recipe, batch: Batch, chosen: Bool[Array, " B"]) -> Batch:
  mask = batch.rollout.mask & chosen[:, None]
  weights = recipe.objective.weights(mask)
  return dataclasses.replace(batch, weights=weights)
