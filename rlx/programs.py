"""The compiled programs of the learner, each for one shape.

`score` says what old policy, reference and value think of a micro-batch;
`observe` lets the recipe's providers learn and fill columns of the step table;
`estimate` turns the table into an advantage a token; `weigh` fixes the
weights of an update; `accumulate` adds the gradient of one micro-batch; `apply`
clips it and takes the step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from rlx import (
  ahead,
  metrics,
  policy,
  pytree,
  sharding,
  train_state,
)
from rlx import batch as batches
from rlx.credit import estimator
from rlx.credit import tokens as spreads
from rlx.evidence import provider
from rlx.objective import log_probs as scoring
from rlx.objective import objective as objectives
from rlx.recipes import recipe as recipes


@pytree.dataclass
class Batch:
  """What an update reads: the rollout, and what was found out about it."""

  rollout: batches.Rollout
  old_log_probs: Float[Array, "B L"]
  ref_log_probs: Float[Array, "B L"]
  old_values: Float[Array, "B L"]
  advantages: Float[Array, "B L"]
  returns: Float[Array, "B L"]
  weights: Float[Array, "B L"]


class Programs(NamedTuple):
  """See `make_programs`; every function but `place` and `send` is jitted.

  `state` is the state's shapes, dtypes and placements; nothing is computed.
  """

  init: Callable
  state: Any
  place: Callable
  rows: Callable
  send: Callable
  score: Callable
  observe: Callable
  estimate: Callable
  weigh: Callable
  zeros: Callable
  accumulate: Callable
  apply: Callable
  advance: Callable


def make_programs(
  model: policy.Policy,
  value: policy.Value | None,
  recipe: recipes.Recipe,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  config: train_state.LearnerConfig,
  *,
  mesh: Mesh,
  temperature: float,
  memory: Any = (),
) -> Programs:
  """Returns the programs of one recipe for one model and mesh.

  Args:
    memory: of the recipe's plan, as it is before the first batch.
  """
  forward = functools.partial(
    _forward, model, value, temperature, config.logit_tokens
  )
  loss = functools.partial(_loss, forward, recipe)
  context = provider.Context(
    model, temperature, config.microbatch_tokens, config.logit_tokens
  )
  providers = tuple(make(context) for make in recipe.providers)
  start = functools.partial(
    _init, model, value, recipe, providers, memory, optimizer
  )
  state = _abstract(start, model, value, optimizer, mesh)
  placements = jax.tree.map(lambda x: x.sharding, state)
  by_row = sharding.batch_sharding(mesh)
  everywhere = sharding.replicated(mesh)
  # A batch is donated, and what it was made of is the caller's.
  put = functools.partial(jax.device_put, device=by_row, may_alias=False)
  return Programs(
    init=jax.jit(
      start,
      donate_argnames="policy",
      out_shardings=placements,
      compiler_options=ahead.once(mesh),
    ),
    state=state,
    place=functools.partial(_place, put, everywhere),
    rows=functools.partial(
      jax.device_put, device=sharding.batch_sharding(mesh, 1)
    ),
    send=lambda micro: (jax.device_put(micro.rows, everywhere), micro.length),
    score=jax.jit(
      functools.partial(
        _score, forward, by_row, config.old_log_probs == "trainer"
      ),
      static_argnames="length",
      donate_argnames="batch",
      out_shardings=by_row,
    ),
    observe=jax.jit(
      functools.partial(_observe, providers),
      donate_argnames="evidence",
      out_shardings=(placements.evidence, everywhere, everywhere),
    ),
    estimate=jax.jit(
      functools.partial(_estimate, recipe),
      donate_argnames="batch",
      out_shardings=(by_row, placements.credit, everywhere),
    ),
    weigh=jax.jit(
      functools.partial(_weigh, recipe),
      donate_argnames="batch",
      out_shardings=by_row,
    ),
    zeros=jax.jit(
      functools.partial(_zeros, recipe),
      out_shardings=(placements.params, everywhere),
    ),
    accumulate=jax.jit(
      functools.partial(_accumulate, loss, by_row),
      static_argnames="length",
      donate_argnames=("grads", "sums", "batch"),
      out_shardings=(placements.params, everywhere, by_row),
    ),
    apply=jax.jit(
      functools.partial(_apply, optimizer, schedule),
      donate_argnames="state",
      out_shardings=(placements, everywhere),
    ),
    advance=jax.jit(
      lambda state: dataclasses.replace(state, step=state.step + 1),
      donate_argnums=0,
      out_shardings=placements,
    ),
  )


def _init(
  model, value, recipe, providers, memory, optimizer, key, policy=None
) -> train_state.TrainState:
  if policy is None:
    policy = model.init(jax.random.fold_in(key, 0))
  params = {"policy": policy}
  if value is not None:
    params["value"] = value.init(jax.random.fold_in(key, 1))
  return train_state.TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=optimizer.init(params),
    credit=recipe.credit.init(),
    evidence=tuple(
      each.init(jax.random.fold_in(key, 3 + place), policy)
      for place, each in enumerate(providers)
    ),
    memory=jax.tree.map(jnp.asarray, memory),
    key=jax.random.key_data(jax.random.fold_in(key, 2)),
    cursor=jnp.int32(0),
    skipped=jnp.int32(0),
    best=jnp.float32(-jnp.inf),
  )


def _abstract(start, model, value, optimizer, mesh):
  """Returns what each leaf is, and where: the optimiser's as the parameters'."""
  shapes = jax.eval_shape(start, jax.random.key(0))
  axes = {"policy": model.axes}
  if value is not None:
    axes["value"] = value.axes
  sharding.check_params(axes, shapes.params, mesh)
  params = sharding.shardings(axes, mesh)
  whole = sharding.replicated(mesh)
  opt_state = optax.tree_utils.tree_map_params(
    optimizer,
    lambda _, place: place,
    shapes.opt_state,
    params,
    transform_non_params=lambda _: whole,
  )
  known = {
    name: iter(jax.tree.leaves(tree))
    for name, tree in (("params", params), ("opt_state", opt_state))
  }
  copies = _copies(params["policy"], shapes.params["policy"], whole)

  def place(path, x):
    if path[0].name in known:
      return next(known[path[0].name])
    return copies(path, x) if path[0].name == "evidence" else whole

  # Leaf by leaf, as a state is annotated to hold arrays.
  flat, structure = jax.tree_util.tree_flatten_with_path(shapes)
  return structure.unflatten(
    jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(path, x))
    for path, x in flat
  )


def _copies(placements, shapes, whole) -> Callable:
  """Returns where a leaf goes that ends like a parameter of the policy does.

  That finds copies of the parameters, and what optimisers keep of them.
  """
  flat = lambda tree: jax.tree_util.tree_flatten_with_path(tree)[0]
  known = {
    path: (x.shape, place)
    for (path, x), (_, place) in zip(
      flat(shapes), flat(placements), strict=True
    )
  }

  def place(path, x):
    for start in range(len(path)):
      shape, found = known.get(path[start:], (None, whole))
      if shape == x.shape:
        return found
    return whole

  return place


def _place(put, everywhere, rollout: batches.Rollout, steps: batches.Steps):
  """Puts a batch on the mesh; what is not known yet is 0."""
  unknown = lambda: put(np.zeros(rollout.tokens.shape, np.float32))
  batch = Batch(
    rollout=jax.tree.map(put, rollout),
    old_log_probs=put(rollout.raw_log_probs),
    ref_log_probs=unknown(),
    old_values=unknown(),
    advantages=unknown(),
    returns=unknown(),
    weights=unknown(),
  )
  table = jax.tree.map(lambda x: jax.device_put(x, everywhere), steps)
  return batch, table


def blank(rows: int, length: int) -> Batch:
  """Returns a batch without a token, for its shapes."""
  floats = jnp.zeros((rows, length), jnp.float32)
  ints, none = floats.astype(jnp.int32), floats.astype(bool)
  rollout = batches.Rollout(
    tokens=ints,
    valid=none,
    mask=none,
    log_probs=floats,
    raw_log_probs=floats,
    segment=ints,
    version=ints,
  )
  names = [f.name for f in dataclasses.fields(Batch) if f.name != "rollout"]
  return Batch(rollout=rollout, **{name: floats for name in names})


def _cut(by_row, batch: Batch, rows: Int[Array, " N"], length: int) -> Batch:
  """Returns these rows, cut to `length`; rows out of range teach nothing."""
  part = jax.tree.map(
    lambda x: jax.lax.with_sharding_constraint(
      x.at[rows, :length].get(mode="clip"), by_row
    ),
    batch,
  )
  present = (rows < batch.weights.shape[0])[:, None]
  return dataclasses.replace(
    part,
    rollout=dataclasses.replace(part.rollout, mask=part.rollout.mask & present),
    weights=jnp.where(present, part.weights, 0.0),
  )


def _forward(model, value, temperature, logit_tokens, params, part: Batch):
  """Returns log-probabilities, entropies and values of the tokens."""
  tokens = part.rollout.tokens
  segments = part.rollout.valid.astype(jnp.int32)
  index = jnp.arange(tokens.shape[1], dtype=jnp.int32)
  positions = jnp.broadcast_to(index, tokens.shape)
  hidden = model.apply(params["policy"], tokens, positions, segments)
  log_probs, entropy = scoring.token_log_probs(
    model.logits,
    params["policy"],
    hidden,
    tokens,
    temperature=temperature,
    chunk_tokens=logit_tokens,
  )
  values = jnp.zeros_like(log_probs)
  if value is not None:
    values = value.apply(params["value"], tokens, positions, segments, hidden)
  return log_probs, entropy, values


def _score(forward, by_row, replace, params, reference, batch, rows, length):
  """Fills in what is known before the update; `replace`: old log-probs too."""
  part = _cut(by_row, batch, rows, length)
  log_probs, _, values = forward(params, part)
  put = lambda x, new: x.at[rows, :length].set(new, mode="drop")
  old = batch.old_log_probs
  batch = dataclasses.replace(
    batch,
    old_log_probs=put(old, log_probs) if replace else old,
    old_values=put(batch.old_values, values),
  )
  if reference is not None:
    ref, _, _ = forward({**params, "policy": reference}, part)
    batch = dataclasses.replace(
      batch, ref_log_probs=put(batch.ref_log_probs, ref)
    )
  return batch


def _observe(providers, evidence, params, batch: Batch, steps: batches.Steps):
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


def _estimate(recipe, batch: Batch, credit, steps: batches.Steps):
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


def _weigh(recipe, batch: Batch, chosen: Bool[Array, " B"]) -> Batch:
  mask = batch.rollout.mask & chosen[:, None]
  weights = recipe.objective.weights(mask)
  return dataclasses.replace(batch, weights=weights)


def _loss(forward, recipe, params, part: Batch, fresh):
  log_probs, entropy, values = forward(params, part)
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


def _zeros(recipe, params, batch):
  """Returns empty sums: gradients, and the metrics' halves."""
  # Which metrics there are does not depend on the model: it is not traced.
  blank = lambda params, part: (part.advantages,) * 3
  loss = functools.partial(_loss, blank, recipe)
  _, (found, _) = jax.eval_shape(loss, params, batch, jnp.bool_(True))
  return jax.tree.map(jnp.zeros_like, params), metrics.empty(found)


def _accumulate(loss, by_row, params, grads, sums, batch, rows, length, fresh):
  part = _cut(by_row, batch, rows, length)
  more, (found, now) = jax.grad(loss, has_aux=True)(params, part, fresh)
  old = batch.old_log_probs
  old = jnp.where(fresh, old.at[rows, :length].set(now, mode="drop"), old)
  grads = jax.tree.map(jnp.add, grads, more)
  return (
    grads,
    metrics.add(sums, found),
    dataclasses.replace(batch, old_log_probs=old),
  )


def _apply(optimizer, schedule, state, grads, sums):
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
