"""What an update reads of a batch, and how it gets to the devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rlx import batch as batches
from rlx import pytree


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


def place(put, everywhere, rollout: batches.Rollout, steps: batches.Steps):
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


def cut(by_row, batch: Batch, rows: Int[Array, " N"], length: int) -> Batch:
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
