"""The update: gradients of micro-batches, added, and the optimiser's step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rlx import metrics
from rlx.objective import objective as objectives
from rlx.programs import forward as forwards
from rlx.programs.tokens import Batch
from rlx.recipes import recipe as recipes


def loss(recipe: recipes.Recipe, part: Batch, said: Any, fresh: Any):
  """(share of the loss, (metrics, log-probabilities)) of some rows.

  Args:
    said: log-probabilities, entropies and values, see `forward.make`.
    fresh: whether the policy is still the one that sampled.
  """
  log_probs, entropy, values = said
  now = jax.lax.stop_gradient(log_probs)
  objective = recipe.objective
  inputs = objectives.TokenInputs(
    log_probs=log_probs,
    # The ratio is exactly 1 where the policy is its own past.
    old_log_probs=jnp.where(fresh, now, part.old_log_probs),
    sampler_log_probs=part.rollout.raw_log_probs,
    ref_log_probs=part.ref_log_probs if objective.needs_reference else None,
    entropy=entropy,
    advantages=part.advantages,
    mask=part.rollout.mask,
    weights=part.weights,
    segment=part.rollout.segment,
    values=values if objective.needs_value else None,
    old_values=part.old_values if objective.needs_value else None,
    returns=part.returns if objective.needs_value else None,
  )
  total, found = recipe.objective.loss(inputs)
  return total, (found, now)


def zeros(recipe: recipes.Recipe, params: Any, batch: Batch):
  """Returns empty sums: gradients, and the metrics' halves."""
  # Which metrics there are does not depend on the model: it is not traced.
  said = (batch.advantages,) * 3
  run = lambda part, said: loss(recipe, part, said, jnp.bool_(True))
  _, (found, _) = jax.eval_shape(run, batch, said)
  return jax.tree.map(jnp.zeros_like, params), metrics.empty(found)


def accumulate(
  forward: forwards.Forward,
  recipe: recipes.Recipe,
  by_row: Any,
  params: Any,
  grads: Any,
  sums: Any,
  batch: Batch,
  view: forwards.View,
  shape: forwards.Shape,
  fresh: Any,
):
  """Adds a micro-batch; its log-probabilities are the old ones if `fresh`."""
  part, put = forwards.cut(by_row, batch, view, shape)

  def run(params):
    return loss(recipe, part, forward(params, part, view, shape), fresh)

  more, (found, now) = jax.grad(run, has_aux=True)(params)
  old = batch.old_log_probs
  batch = dataclasses.replace(
    batch, old_log_probs=jnp.where(fresh, put(old, now), old)
  )
  return jax.tree.map(jnp.add, grads, more), metrics.add(sums, found), batch


def apply(optimizer, schedule, state, grads, sums):
  """Takes the step, unless the gradient is not finite: then nothing changes."""
  norm = optax.tree_utils.tree_norm(grads)
  finite = jnp.isfinite(norm)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  choose = lambda new, old: jnp.where(finite, new, old)
  one = lambda x: metrics.Mean(
    total=jnp.asarray(x, jnp.float32), count=jnp.float32(1)
  )
  # Adam and the schedule each count the updates; they agree.
  counts = optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
  count = counts[-1][1]
  # Sums become means over updates.
  done = lambda x: x if metrics.is_metric(x) else one(x)
  found = {
    **{name: done(x) for name, x in sums.items()},
    "grad_norm": one(norm),
    "learning_rate": one(schedule(count)),
    "skipped": one(~finite),
  }
  state = dataclasses.replace(
    state,
    params=jax.tree.map(choose, params, state.params),
    opt_state=jax.tree.map(choose, opt_state, state.opt_state),
    skipped=jnp.where(finite, 0, state.skipped + 1),
  )
  return state, found
