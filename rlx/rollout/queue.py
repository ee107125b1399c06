"""Which slot works on which job, as pure functions of arrays.

Jobs leave the queue in their order. Nothing here knows what a job computes:
`admit` while `admissible`, then `advance` by a token, until not `running`.

Axes: S slots, J jobs.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from rlx import pytree


@pytree.dataclass
class Queue:
  """The slots, and how far the queue has come."""

  admitted: Int[Array, ""]  # Jobs that have left the queue.
  job: Int[Array, " S"]  # What a slot works on, or did last; J: nothing yet.
  written: Int[Array, " S"]  # Tokens of it so far; 0 in a free slot.
  live: Bool[Array, " S"]  # Else the slot is free.


def empty(slots: int, num_jobs: int) -> Queue:
  """Returns slots that are free, before a queue of all jobs."""
  zeros = jnp.zeros((slots,), jnp.int32)
  return Queue(
    admitted=jnp.int32(0),
    job=zeros + num_jobs,
    written=zeros,
    live=zeros > 0,
  )


def admissible(queue: Queue, num_jobs: int) -> Bool[Array, ""]:
  """Whether a slot is free and a job waits."""
  return (queue.admitted < num_jobs) & ~jnp.all(queue.live)


def running(queue: Queue, num_jobs: int) -> Bool[Array, ""]:
  """Whether anything is left to do."""
  return (queue.admitted < num_jobs) | jnp.any(queue.live)


def admit(
  queue: Queue, budget: Int[Array, " J"]
) -> tuple[Queue, Int[Array, ""]]:
  """Gives the next job to the first free slot, which is returned.

  A job whose budget is 0 is over at once. Call it only where `admissible`.
  """
  slot = jnp.argmin(queue.live).astype(jnp.int32)
  job = queue.admitted
  return dataclasses.replace(
    queue,
    admitted=job + 1,
    job=queue.job.at[slot].set(job),
    written=queue.written.at[slot].set(0),
    live=queue.live.at[slot].set(budget[job] > 0),
  ), slot


def advance(
  queue: Queue, ended: Bool[Array, " S"], budget: Int[Array, " S"]
) -> Queue:
  """Each live slot has written one token more.

  Args:
    ended: the token was the job's last.
    budget: most tokens of each slot's job.
  """
  written = queue.written + 1
  live = queue.live & ~ended & (written < budget)
  return dataclasses.replace(
    queue, written=jnp.where(live, written, 0), live=live
  )


def dwindled(queue: Queue, num_jobs: int, slots: int) -> Bool[Array, ""]:
  """Whether no job waits and no more than `slots` are live."""
  return (queue.admitted >= num_jobs) & (jnp.sum(queue.live) <= slots)


def keep(queue: Queue, slots: int) -> tuple[Queue, Int[Array, " K"]]:
  """Returns `slots` of the slots, the live ones first, and which they were."""
  which = jnp.argsort(~queue.live, stable=True)[:slots].astype(jnp.int32)
  return dataclasses.replace(
    queue,
    job=queue.job[which],
    written=queue.written[which],
    live=queue.live[which],
  ), which


def longest(queue: Queue) -> Int[Array, ""]:
  """Most tokens that a live slot has written."""
  return jnp.max(queue.written)
