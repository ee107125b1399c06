"""The expected policy gradient of a recipe: a sum over every batch.

Two are taken. The credit's own is

    E[ sum over trajectories and tokens of A grad log pi ] / E[ trajectories ]

which asks whether the advantages are right, whatever they are put into. Of a
tree, the branches at its root are its trajectories. The objective's is that of the whole loss, at a ratio of 1, with its reduction:

    E[ - grad loss ] * E[ tokens ] / ( E[ sum of weights ] E[ trajectories ] )

The second factor takes out how large the weight of a token is on average, which
a learning rate is there for: a division by a constant is none of a bias, and
by a number that depends on what was sampled is one.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import batch
from rlx.credit import estimator, kernels
from rlx.credit import tokens as spreads
from rlx.ledger import batches
from rlx.objective import objective as objectives
from rlx.recipes import recipe as recipes

# Each program runs once, for milliseconds.
_HASTE = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
  "xla_cpu_use_fusion_emitters": False,
}


class Gradients(NamedTuple):
  """Of one case, each [D A]."""

  true: np.ndarray
  credit: np.ndarray
  objective: np.ndarray


# Compiled programs by what they compute: recipes have much in common.
Programs = dict[str, Any]


def gradients(
  recipe: recipes.Recipe,
  cases: Sequence[batches.Case],
  all_batches: batches.Batches,
  programs: Programs | None = None,
) -> list[Gradients]:
  """Returns the gradients of each case, where float64 is enabled.

  Args:
    all_batches: of these cases, with the extras that the recipe needs.
    programs: of other recipes, to which its own are added.
  """
  programs = {} if programs is None else programs
  table = all_batches.table
  tokens = _each(functools.partial(_assign, recipe), programs, table)
  seen = _each(functools.partial(_differentiate, recipe), programs, *tokens)
  seen = jax.tree.map(np.asarray, seen)
  return [
    _sum(case, number, all_batches, seen) for number, case in enumerate(cases)
  ]


def _each(f: Callable[..., Any], programs: Programs, *args):
  """f of every batch."""
  lowered = jax.jit(jax.vmap(f)).lower(*args)
  text = lowered.as_text()
  if text not in programs:
    programs[text] = _compile(lowered)
  return programs[text](*args)


def _compile(lowered):
  try:
    return lowered.compile(_HASTE)
  except jax.errors.JaxRuntimeError:  # Options come and go with versions.
    return lowered.compile()


class _Seen(NamedTuple):
  """What came of a batch."""

  credit: jax.Array  # [B L], advantage of each token.
  log_prob: jax.Array  # [B L], - d loss / d log-probability.
  entropy: jax.Array  # [B L], - d loss / d entropy.
  trajectories: jax.Array
  tokens: jax.Array
  weight: jax.Array  # Summed over tokens.


class _Tokens(NamedTuple):
  """What the objective reads of a batch, and the trajectories in it."""

  rollout: batch.Rollout
  advantages: jax.Array
  targets: jax.Array
  values: jax.Array
  entropy: jax.Array
  kept: jax.Array
  trajectories: jax.Array


def _differentiate(
  recipe: recipes.Recipe,
  rollout: batch.Rollout,
  advantages: jax.Array,
  targets: jax.Array,
  values: jax.Array,
  entropy: jax.Array,
  kept: jax.Array,
  trajectories: jax.Array,
) -> _Seen:
  """The gradient of the loss, as the learner takes it in the first update."""
  objective = recipe.objective
  weights = objective.weights(kept)
  own = lambda x: x if objective.needs_value else None

  def loss(log_probs, entropy):
    inputs = objectives.TokenInputs(
      log_probs=log_probs,
      entropy=entropy,
      advantages=advantages,
      mask=kept,
      weights=weights,
      segment=rollout.segment,
      old_log_probs=jax.lax.stop_gradient(log_probs),
      sampler_log_probs=rollout.raw_log_probs,
      ref_log_probs=(
        rollout.raw_log_probs if objective.needs_reference else None
      ),
      values=own(values),
      old_values=own(values),
      returns=own(targets),
    )
    return objective.loss(inputs)[0]

  down = jax.grad(loss, (0, 1))(rollout.raw_log_probs, entropy)
  return _Seen(
    credit=jnp.where(rollout.mask, advantages, 0.0),
    log_prob=-down[0],
    entropy=-down[1],
    trajectories=trajectories,
    tokens=jnp.sum(kept),
    weight=jnp.sum(weights),
  )


def _assign(recipe: recipes.Recipe, table: batches.Table) -> _Tokens:
  """Credit of each token, and which tokens are learnt from."""
  rollout = batch.Rollout(**table["rollout"])
  steps = batch.Steps(**table["steps"])
  if recipe.filter_groups:
    rollout, steps = _filter(rollout, steps)
  advantages, targets = _credit(recipe, rollout, steps, table["values"])
  kept = rollout.mask
  if recipe.keep is not None:
    kept = kept & recipe.keep(rollout, steps, advantages)
  return _Tokens(
    rollout=rollout,
    advantages=advantages,
    targets=targets,
    values=table["values"],
    entropy=table["entropy"],
    kept=kept,
    trajectories=jnp.sum(jnp.any(rollout.mask, 1) & table["begins"]),
  )


def _credit(recipe: recipes.Recipe, rollout, steps: batch.Steps, values):
  """Advantages and value targets of the tokens, as the learner has them."""
  table, spread = steps, lambda x: spreads.spread(x, rollout.segment)
  if recipe.level == "token":
    table = spreads.token_table(
      rollout,
      steps,
      values=values,
      ref_log_probs=rollout.raw_log_probs,
      kl_in_reward=recipe.kl_in_reward,
    )
    spread = lambda x: jnp.where(rollout.mask, x.reshape(values.shape), 0.0)
  state = recipe.credit.init()
  signal, _ = estimator.advantages(recipe.credit, state, table)
  targets = jnp.zeros_like(signal)
  if recipe.value_targets is not None:
    own = recipe.value_targets
    targets, _ = estimator.advantages(own, own.init(), table)
  return spread(signal), spread(targets)


def _filter(rollout, steps: batch.Steps):
  """The batch without groups of equal outcomes.

  Others are sampled in their place, so that it is a batch without end of which
  this is a part: what counts is the mean over the groups that are left.
  """
  key = kernels.group_ids(steps.prompt, live=steps.weight > 0)
  top = kernels.keyed_max(steps.outcome, key)
  low = -kernels.keyed_max(-steps.outcome, key)
  kept = (steps.weight > 0) & (top - low > 1e-9)
  mask = rollout.mask & kept[jnp.maximum(rollout.segment, 0)]
  return dataclasses.replace(rollout, mask=mask), dataclasses.replace(
    steps, weight=jnp.where(kept, steps.weight, 0.0)
  )


def _sum(
  case: batches.Case, number: int, drawn: batches.Batches, seen: _Seen
) -> Gradients:
  """The expectation over the batches of one case."""
  own = drawn.case == number
  chance, rows = drawn.probability[own], drawn.episode[own]
  mean = lambda x: float(chance @ x[own])

  def expect(x):
    """E[sum over rows] per episode and token, [N L]."""
    total = np.zeros(case.known.listed.turn.shape)
    there = rows >= 0
    np.add.at(total, rows[there], (chance[:, None, None] * x[own])[there])
    return total

  along = lambda x, score: np.tensordot(expect(x), score, 2)
  known = case.known
  of_loss = along(seen.log_prob, known.score)
  of_loss += along(seen.entropy, known.entropy_score)
  trajectories, weight = mean(seen.trajectories), mean(seen.weight)
  size = mean(seen.tokens) / (weight or 1.0)
  return Gradients(
    true=known.gradient,
    credit=along(seen.credit, known.score) / (trajectories or 1.0),
    objective=of_loss * size / (trajectories or 1.0),
  )
