"""A second policy: its log-probabilities, its gradients, its updates.

Gradients are those of sums of log-probabilities times coefficients. Any loss
that is a function of the log-probabilities is that in two passes: its
derivative with respect to them, then this with the derivative as coefficients.
So a loss that pairs up trajectories from all over the batch needs no more
memory than the rows that go through the model at once.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from rlx import batch
from rlx.evidence import chunks, provider
from rlx.objective import log_probs as scoring

State = dict[str, Any]  # "params", "opt_state", and "count" of batches seen.


def log_probs(
  context: provider.Context,
  params: Any,
  rollout: batch.Rollout,
  mask: Bool[Array, "B L"],
) -> Float[Array, "B L"]:
  """The log-probability of each token in nats, 0 outside of `mask`."""
  parts = chunks.split(context, (rollout.tokens, rollout.valid, mask))
  return chunks.join(jax.lax.map(lambda x: _score(context, params, *x), parts))


def gradients(
  context: provider.Context,
  variables: Any,
  params: Any,
  rollout: batch.Rollout,
  mask: Bool[Array, "B L"],
  coefficients: tuple[Float[Array, "B L"], ...],
) -> tuple[Any, ...]:
  """d(sum of a coefficient times log-probability) / d variables, for each.

  Args:
    variables: the parameters, or a part of them: a tree like `params` with None
      for leaves that are constant, whose values are those of `params`.
  """
  parts = chunks.split(
    context, (rollout.tokens, rollout.valid, mask, coefficients)
  )

  def add(totals, part):
    *seen, weights = part
    score = lambda some: _score(context, _fill(some, params), *seen)
    _, pull = jax.vjp(score, variables)
    more = tuple(pull(weight)[0] for weight in weights)
    return jax.tree.map(jnp.add, totals, more), None

  zeros = jax.tree.map(jnp.zeros_like, (variables,) * len(coefficients))
  return jax.lax.scan(add, zeros, parts)[0]


def optimizer(
  learning_rate: float, max_grad_norm: float
) -> optax.GradientTransformation:
  """Adam behind a clip of the whole gradient."""
  return optax.chain(
    optax.clip_by_global_norm(max_grad_norm), optax.adam(learning_rate)
  )


def init(transform: optax.GradientTransformation, params: Any) -> State:
  """The state of a copy of `params`."""
  params = jax.tree.map(jnp.copy, params)
  opt_state = transform.init(params)
  return {"params": params, "opt_state": opt_state, "count": jnp.int32(0)}


def step(
  transform: optax.GradientTransformation,
  state: State,
  grads: Any,
  learn: Bool[Array, ""],
) -> tuple[State, Float[Array, ""]]:
  """(the state after one update, norm of the gradient).

  Unless `learn`, and where the gradient is not finite, only `count` changes.
  """
  norm = optax.tree_utils.tree_norm(grads)
  old = (state["params"], state["opt_state"])
  updates, opt_state = transform.update(grads, old[1], old[0])
  new = (optax.apply_updates(old[0], updates), opt_state)
  good = learn & jnp.isfinite(norm)
  params, opt_state = jax.tree.map(lambda x, y: jnp.where(good, x, y), new, old)
  count = state["count"] + 1
  return {"params": params, "opt_state": opt_state, "count": count}, norm


def _score(context, params, tokens, valid, mask):
  return scoring.token_log_probs(
    context.model.logits,
    params,
    chunks.features(context.model, params, tokens, valid),
    tokens,
    temperature=context.temperature,
    mask=mask,
    chunk_tokens=context.logit_tokens,
  )[0]


def _fill(some, params):
  """`params` with the leaves that `some` has taken from there."""
  return jax.tree.map(
    lambda x, other: other if x is None else x,
    some,
    params,
    is_leaf=lambda x: x is None,
  )
