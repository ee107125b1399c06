"""The programs of one recipe, compiled where they are first called."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from rlx import ahead, policy, sharding, train_state
from rlx.evidence import provider
from rlx.packing import arrays
from rlx.programs import begin, estimate, forward, step, tokens
from rlx.recipes import recipe as recipes


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
  run = forward.make(model, value, temperature, config.logit_tokens)
  context = provider.Context(
    model, temperature, config.limits[0], config.logit_tokens
  )
  providers = tuple(make(context) for make in recipe.providers)
  start = functools.partial(
    begin.init, model, value, recipe, providers, memory, optimizer
  )
  state = begin.abstract(start, model, value, optimizer, mesh)
  placements = jax.tree.map(lambda x: x.sharding, state)
  by_row = sharding.batch_sharding(mesh)
  everywhere = sharding.replicated(mesh)
  # A batch is donated, and what it was made of is the caller's.
  put = functools.partial(jax.device_put, device=by_row, may_alias=False)
  replace = config.old_log_probs == "trainer"
  return Programs(
    init=jax.jit(
      start,
      donate_argnames="policy",
      out_shardings=placements,
      compiler_options=ahead.once(mesh),
    ),
    state=state,
    place=functools.partial(tokens.place, put, everywhere),
    rows=functools.partial(
      jax.device_put, device=sharding.batch_sharding(mesh, 1)
    ),
    send=functools.partial(_send, by_row, everywhere),
    score=jax.jit(
      functools.partial(forward.score, run, by_row, replace),
      static_argnames="shape",
      donate_argnames="batch",
      out_shardings=by_row,
    ),
    observe=jax.jit(
      functools.partial(estimate.observe, providers),
      donate_argnames="evidence",
      out_shardings=(placements.evidence, everywhere, everywhere),
    ),
    estimate=jax.jit(
      functools.partial(estimate.estimate, recipe),
      donate_argnames="batch",
      out_shardings=(by_row, placements.credit, everywhere),
    ),
    weigh=jax.jit(
      functools.partial(estimate.weigh, recipe),
      donate_argnames="batch",
      out_shardings=by_row,
    ),
    zeros=jax.jit(
      functools.partial(step.zeros, recipe),
      out_shardings=(placements.params, everywhere),
    ),
    accumulate=jax.jit(
      functools.partial(step.accumulate, run, recipe, by_row),
      static_argnames="shape",
      donate_argnames=("grads", "sums", "batch"),
      out_shardings=(placements.params, everywhere, by_row),
    ),
    apply=jax.jit(
      functools.partial(step.apply, optimizer, schedule),
      donate_argnames="state",
      out_shardings=(placements, everywhere),
    ),
    advance=jax.jit(
      lambda state: dataclasses.replace(state, step=state.step + 1),
      donate_argnums=0,
      out_shardings=placements,
    ),
  )


def _send(by_row, everywhere, view):
  """Puts a view on the mesh: packs are split over it, numbers of rows are not."""
  if not isinstance(view, arrays.Pack):
    return jax.device_put(view, everywhere)
  places = arrays.Pack(everywhere, *[by_row] * (len(view) - 1))
  return jax.device_put(view, places)
