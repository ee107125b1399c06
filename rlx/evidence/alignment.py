"""Weights of objectives, by how much each helps the first one."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rlx import credit, metrics
from rlx.evidence import chunks, provider, second_policy


def alignment(
  context: provider.Context,
  *,
  objectives: tuple[str, ...],
  learning_rate: float = 0.5,
  floor: float = 0.01,
  leaves: str = "",
) -> provider.Provider:
  """Fills "weight/NAME" for each objective, the same number on every step.

      g_k = gradient of the policy's objective k, A^k = standardise(R^k, prompt)
      align_k = cos(g_first now, g_k in the batch before),  in [-1, 1]
      w <- softmax(log w + learning_rate * align)

  The cosine says whether the step that was taken for objective k has been one
  that the first objective wants too. w starts uniform, and stays so in the first
  batch, which has none before it. A gradient of 0, as that of an objective on
  which all samples agree, has alignment 0.

  It takes a backward pass and a copy of the gradient for each objective.

  Args:
    context: of the policy.
    objectives: names of the extras "objective/NAME"; the first is the main one.
    learning_rate: of the mirror step.
    floor: least weight, before the weights are made to sum to 1.
    leaves: only parameters whose path ("head", say) starts with this.

  Raises:
    ValueError: there is no objective; or, from `init`, no parameter's path
      starts with `leaves`.

  Source: FedMOA 2026, arXiv:2602.00453; the formulas are our inference from
  its abstract.
  """
  if not objectives:
    raise ValueError("objectives=(): there must be one or more")
  num = len(objectives)

  def init(key, params):
    del key
    zeros = jax.tree.map(jnp.zeros_like, select(params, leaves))
    return {
      "weights": jnp.full(num, 1.0 / num, jnp.float32),
      "previous": dict.fromkeys(objectives, zeros),
      "count": jnp.int32(0),
    }

  def update(state, seen: provider.Seen):
    mask = chunks.chosen(seen.rollout, seen.steps)
    grads = second_policy.gradients(
      *(context, select(seen.params, leaves), seen.params, seen.rollout, mask),
      tuple(_advantage(name, seen) for name in objectives),
    )
    align = jnp.stack(
      [cosine(grads[0], state["previous"][name]) for name in objectives]
    )
    weights = mirror(state["weights"], align, learning_rate, floor)
    state = {
      "weights": weights,
      "previous": dict(zip(objectives, grads, strict=True)),
      "count": state["count"] + 1,
    }
    live = seen.steps.weight > 0
    columns, found = {}, {}
    for name, weight, angle in zip(objectives, weights, align, strict=True):
      columns[f"weight/{name}"] = jnp.where(live, weight, 0.0)
      found[f"weight/{name}"] = metrics.mean(weight, jnp.bool_(True))
      found[f"alignment/{name}"] = metrics.mean(angle, jnp.bool_(True))
    return state, columns, found

  columns = tuple(f"weight/{name}" for name in objectives)
  return provider.Provider(columns, init, update)


def mirror(
  weights: Float[Array, " K"],
  align: Float[Array, " K"],
  learning_rate: float,
  floor: float = 0.0,
) -> Float[Array, " K"]:
  """softmax(log w + learning_rate * align), no weight far below `floor`."""
  low = jnp.finfo(weights.dtype).tiny
  logits = jnp.log(jnp.maximum(weights, low)) + learning_rate * align
  weights = jnp.maximum(jax.nn.softmax(logits), floor)
  return weights / weights.sum()


def cosine(a: Any, b: Any) -> Float[Array, ""]:
  """The cosine between two trees, within [-1, 1]; 0 where one is 0."""
  norm = optax.tree_utils.tree_norm
  lengths = norm(a) * norm(b)
  some = lengths > 0
  product = optax.tree_utils.tree_vdot(a, b)
  return jnp.where(
    some, jnp.clip(product / jnp.where(some, lengths, 1.0), -1.0, 1.0), 0.0
  )


def select(params: Any, leaves: str) -> Any:
  """`params` with None for every leaf whose path does not start with `leaves`.

  Raises:
    ValueError: none does; the paths there are are listed.
  """
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
  paths = [
    name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]
  if not any(path.startswith(leaves) for path in paths):
    raise ValueError(f"no parameter starts with {leaves!r}: {', '.join(paths)}")
  return jax.tree_util.tree_map_with_path(
    lambda path, x: x if name(path).startswith(leaves) else None, params
  )


def standardised(name: str) -> credit.Estimator:
  """An objective relative to the prompt's other samples."""
  return credit.chain(
    credit.evidence(f"objective/{name}"),
    credit.standardise(by=("prompt",), vote="vote"),
  )


def _advantage(name: str, seen: provider.Seen) -> Float[Array, "B L"]:
  link = standardised(name)
  signal, _ = credit.advantages(link, link.init(), seen.steps)
  return credit.spread(signal, seen.rollout.segment)
