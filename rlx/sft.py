"""Supervised fine-tuning: the likelihood of what an assistant should say."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from rlx import metrics, policy, sharding
from rlx.data import sft as data_sft
from rlx.objective import log_probs as scoring


class Lines(NamedTuple):
  """The arrays of a `data.SFTBatch`, on the device."""

  tokens: Int[Array, "B L"]
  mask: Bool[Array, "B L"]
  segments: Int[Array, "B L"]
  positions: Int[Array, "B L"]


class Sft(NamedTuple):
  """See `make_sft`."""

  init: Callable[[Any], Any]
  update: Callable[..., tuple[Any, Any, dict[str, Any]]]


def make_sft(
  model: policy.Policy,
  optimizer: optax.GradientTransformation,
  *,
  mesh: Mesh,
  microbatch_tokens: int = 8192,
  logit_tokens: int = 4096,
) -> Sft:
  """Returns the pair `(init, update)` of supervised training.

      loss = - sum over learnt tokens of log p(token | before) / their number

  `init(params) -> opt_state`; `update(params, opt_state, batch) -> (params,
  opt_state, metrics)` with both donated. Metrics: `loss` in nats a token,
  `num_tokens` learnt, `grad_norm`.

  Args:
    microbatch_tokens: that go through the model at once; 0 for the whole batch.
  """
  loss = functools.partial(_loss, model, logit_tokens)
  update = functools.partial(_update, loss, optimizer, mesh, microbatch_tokens)
  # Both stay where they are, so that one program serves every update.
  params_at = sharding.shardings(model.axes, mesh)
  state_at = _state_at(model, optimizer, params_at, mesh)
  return Sft(
    init=jax.jit(optimizer.init, out_shardings=state_at),
    update=jax.jit(
      update,
      donate_argnums=(0, 1),
      in_shardings=(params_at, state_at, None),
      out_shardings=(params_at, state_at, None),
    ),
  )


def _state_at(model, optimizer, params_at, mesh):
  """Returns where the optimiser's state is: its moments as the parameters."""
  state = lambda key: optimizer.init(model.init(key))
  return optax.tree_utils.tree_map_params(
    optimizer,
    lambda _, place: place,
    jax.eval_shape(state, jax.random.key(0)),
    params_at,
    transform_non_params=lambda _: sharding.replicated(mesh),
  )


def train(
  trainer: Sft,
  params: policy.Params,
  opt_state: Any,
  batches: Iterator[data_sft.SFTBatch],
  *,
  mesh: Mesh,
) -> Iterator[tuple[policy.Params, Any, dict[str, Any], int]]:
  """Yields (parameters, optimiser state, metrics, cursor) after each update.

  Parameters and state are donated from one update to the next. The metrics are
  still on the device: fetch them later.

  Raises:
    ValueError: the rows of a batch do not divide over the mesh.
  """
  put = lambda x: jax.device_put(x, sharding.batch_sharding(mesh))
  for batch in batches:
    sharding.check_divides("batch_size", batch.tokens.shape[0], mesh)
    arrays = Lines(*map(put, batch[:4]))
    params, opt_state, found = trainer.update(params, opt_state, arrays)
    yield params, opt_state, found, batch.cursor


def _loss(model, logit_tokens, params, part: Lines, count):
  hidden = model.apply(params, part.tokens, part.positions, part.segments)
  log_probs, _ = scoring.token_log_probs(
    model.logits, params, hidden, part.tokens, chunk_tokens=logit_tokens
  )
  # The first token of a demonstration follows nothing.
  learnt = part.mask & (part.positions > 0)
  found = metrics.mean(-log_probs, learnt)
  return found.total / count, {"loss": found}


def _update(loss, optimizer, mesh, microbatch_tokens, params, opt_state, batch):
  rows, length = batch.tokens.shape
  parts = sharding.batch_devices(mesh)
  fit = max(microbatch_tokens // length // parts, 1) * parts
  fit = fit if microbatch_tokens else rows
  num = next(
    n for n in range(-(-rows // fit), rows + 1) if rows % (n * parts) == 0
  )
  # Row r goes to part r % num, so that every device keeps its own rows.
  split = lambda x: jnp.moveaxis(x.reshape(rows // num, num, length), 1, 0)
  count = jnp.maximum(jnp.sum(batch.mask & (batch.positions > 0)), 1)

  def body(grads, part):
    more, found = jax.grad(loss, has_aux=True)(params, part, count)
    return jax.tree.map(jnp.add, grads, more), found

  zeros = jax.tree.map(jnp.zeros_like, params)
  grads, found = jax.lax.scan(body, zeros, jax.tree.map(split, batch))
  found = metrics.collapse(found)
  norm = optax.tree_utils.tree_norm(grads)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  one = lambda x: metrics.Mean(
    total=jnp.asarray(x, jnp.float32), count=jnp.float32(1)
  )
  found = {**found, "grad_norm": one(norm), "num_tokens": one(count)}
  return optax.apply_updates(params, updates), opt_state, found
