"""The learner: state and a batch in, state and metrics out.

The loss of a micro-batch is a sum of per-token losses times weights that were
fixed for the whole batch, so that any split into micro-batches, over any
devices, is the same update.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from rlx import (
  ahead,
  metrics,
  microbatches,
  policy,
  precompile,
  sharding,
  train_state,
  views,
)
from rlx import batch as batches
from rlx import optimizer as optimizers
from rlx.programs import make as programs
from rlx.recipes import recipe as recipes


class Learner(NamedTuple):
  """A recipe bound to a model, a mesh and a batch shape.

  Attributes:
    init: `(key, policy=None) -> TrainState`, placed on the mesh. The policy's
      parameters are donated; without them they are made from the key.
    update: `(state, reference, rollout, steps) -> (state, metrics, batch)`.
      `reference` is a tree of policy parameters, or None. The state is donated.
      Metrics are trees of `metrics.Mean` and the like; they and the batch, with
      its advantages, are still on the device.
    placements: tree of shardings of the state.
    prepare: `(reference) -> None`, starts to compile, in threads, what an update
      on long rows needs, and returns at once. To be called early; the same call
      again does nothing.
    warm_up: `(reference) -> None`, compiles every shape that an update can have
      and returns when it is done. Nothing is computed.
    tokens: `(rollout) -> int`, how many go through the model in one pass over a
      batch, padding included.
  """

  init: Callable[..., train_state.TrainState]
  update: Callable[..., tuple[train_state.TrainState, dict[str, Any], Any]]
  placements: Any
  prepare: Callable[[Any], None]
  warm_up: Callable[[Any], None]
  tokens: Callable[[batches.Rollout], int]


def make_learner(
  model: policy.Policy,
  recipe: recipes.Recipe,
  optimizer_config: optimizers.OptimizerConfig,
  config: train_state.LearnerConfig,
  *,
  mesh: Mesh,
  temperature: float,
  rows: int,
  length: int,
  turns: int = 1,
  prompt: int = 0,
  group: int = 1,
  max_chosen: int = 0,
  value: policy.Value | None = None,
  memory: Any = (),
  extras: Sequence[str] = ("length", "truncated"),
) -> Learner:
  """Returns the learner for batches of `[rows, length]`.

  Args:
    turns: rows of the step table that a sequence has, and
    extras: the columns that rollouts come with. Only what is compiled ahead
      depends on these.
    prompt: tokens of the longest prompt that the `group` rows of a group share.
      With `config.share_prefixes`, packs are made for it; what rows share is
      found in their tokens, and any batch is learnt from rightly.
    max_chosen: most tokens that the policy chose in a row; 0 for any number.
    temperature: of the sampler; log-probabilities are computed under it.
    value: ignored where the recipe needs none.
    memory: of the recipe's plan, as it is before the first batch.

  Raises:
    ValueError: the recipe needs a value function and there is none, or the rows
      do not divide over the mesh or are fewer than the minibatches.
  """
  sharding.check_divides("rows of a batch", rows, mesh)
  if config.num_minibatches > rows:
    raise ValueError(
      f"learner.num_minibatches={config.num_minibatches}: more than the {rows} "
      "rows of a batch"
    )
  if recipe.needs_value and value is None:
    raise ValueError(f"recipe {recipe.name} needs a value function; value=None")
  value = value if recipe.needs_value else None
  sharing = config.share_prefixes and value is None and views.packs(model)
  run = programs.make_programs(
    model,
    value,
    recipe,
    optimizers.make_optimizer(optimizer_config),
    optimizers.schedule(optimizer_config),
    config,
    mesh=mesh,
    temperature=temperature,
    memory=memory,
  )
  tokens, group_tokens = config.limits
  sizes = (length, rows, tokens, sharding.batch_devices(mesh))
  if sharing:
    cut = views.packed(
      *sizes,
      model=model,
      params=run.state.params["policy"],
      prompt=prompt,
      group=group,
      group_tokens=group_tokens,
      chosen=max_chosen,
    )
  else:
    cut = views.plain(*sizes, more=recipe.bootstraps)
  compiling, begun = ahead.Ahead(), set()

  def update(*args):
    compiling.wait()
    return _update(run, recipe, config, cut.split, *args)

  def prepare(reference, wanted=cut.blanks[-1:]):
    new = [(view, shape) for view, shape in wanted if shape not in begun]
    if new:
      precompile.start(
        *(compiling, run, mesh, new),
        rows=rows,
        length=length,
        turns=turns,
        extras=extras,
        reference=reference,
        scored=_scores_first(recipe, config, reference),
        rest=not begun,
      )
      begun.update(shape for _, shape in new)

  def warm_up(reference):
    prepare(reference, cut.blanks)
    compiling.wait()

  return Learner(
    init=run.init,
    update=update,
    placements=jax.tree.map(lambda x: x.sharding, run.state),
    prepare=prepare,
    warm_up=warm_up,
    tokens=functools.partial(_tokens, cut.split),
  )


def _update(run, recipe, config, split, state, reference, rollout, steps):
  # Passes are drawn from the step, so that a resumed run draws them again.
  turn = int(state.step) if config.num_minibatches > 1 else 0
  every = np.ones(len(rollout.tokens), bool)
  whole = [(run.send(view), shape) for view, shape in split(rollout, every)]
  batch, table = run.place(rollout, steps)
  if _scores_first(recipe, config, reference):
    for view, shape in whole:
      batch = run.score(state.params, reference, batch, view, shape)
  seen = {}
  if recipe.providers:
    evidence, table, seen = run.observe(
      state.evidence, state.params, batch, table
    )
    state = dataclasses.replace(state, evidence=evidence)
  batch, credit, found = run.estimate(batch, state.credit, table)
  found |= seen
  state = dataclasses.replace(state, credit=credit)
  # The first update sees the policy as it was: its ratio is exactly 1.
  fresh = config.old_log_probs == "trainer"
  for chosen in _passes(config, turn, rollout, steps):
    part = whole
    if config.num_minibatches > 1:
      views_of = split(rollout, chosen)
      part = [(run.send(view), shape) for view, shape in views_of]
    if not part:
      continue
    batch = run.weigh(batch, run.rows(chosen))
    grads, sums = run.zeros(state.params, batch)
    for view, shape in part:
      grads, sums, batch = run.accumulate(
        state.params, grads, sums, batch, view, shape, fresh
      )
    fresh = False
    state, sums = run.apply(state, grads, sums)
    found = _join(found, sums)
  return run.advance(state), found, batch


def _tokens(split, rollout: batches.Rollout) -> int:
  every = np.ones(len(rollout.tokens), bool)
  return sum(views.columns(*each) for each in split(rollout, every))


def _scores_first(recipe, config, reference) -> bool:
  return (
    recipe.needs_value
    or reference is not None
    or (bool(recipe.providers) and config.old_log_probs == "trainer")
    or (config.num_minibatches > 1 and config.old_log_probs == "trainer")
  )


def _passes(config, turn: int, rollout, steps):
  """Rows of each update, bool [B]: those of one trajectory are in one of them."""
  rows = np.arange(len(rollout.tokens))
  if config.num_minibatches > 1:
    rows = _first_rows(rollout, steps)
  for iteration in range(config.num_iterations):
    rng = np.random.default_rng((turn, iteration))
    parts = microbatches.minibatches(len(rows), config.num_minibatches, rng)
    yield from (part[rows] for part in parts)


def _first_rows(rollout, steps) -> np.ndarray:
  """Returns the first row of each row's trajectory, which may be several."""
  step = np.asarray(rollout.segment).max(1)
  found = np.asarray(steps.trajectory)[np.maximum(step, 0)]
  # Where nobody chose anything, a row is alone.
  own = np.where(step >= 0, found, -1 - np.arange(len(step)))
  _, first, which = np.unique(own, return_index=True, return_inverse=True)
  return first[which]


def _join(found: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
  both = {
    name: metrics.add(found[name], more[name]) for name in found if name in more
  }
  return {**found, **more, **both}
