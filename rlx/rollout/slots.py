"""Continuous batching: a fixed number of slots works off a queue of jobs.

One loop fills the slots that are free, and lets all write until one of them is
free again; both happen on the device. A job's draws depend on its key and its
own tokens only, so that neither the number of slots nor the order of the queue
changes what it writes.

A slot has a trunk of its own, the copy of its job's prompt, and a tail that it
writes. What the job before it left in either lies beyond what is visible.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rlx import policy as policies
from rlx import pytree
from rlx.rollout import decode, queue
from rlx.rollout import sampling as samplings


@pytree.dataclass
class Prompts:
  """What is computed once a prompt, and copied to each slot that goes on."""

  hidden: Float[Array, "P D"]  # Features of the last token.
  cache: policies.Cache
  length: Int[Array, " P"]


@pytree.dataclass
class Jobs:
  """What is to be written, in the order of the queue."""

  prompt: Int[Array, " J"]  # Row of the prompts.
  key: Key[Array, " J"]  # See `sampling.row_keys`; folded with the position.
  budget: Int[Array, " J"]  # Most tokens, at the most `max_new`.


@pytree.dataclass
class _State:
  """What the loop changes."""

  queue: queue.Queue
  hidden: Float[Array, "S D"]  # Of the last token before the next draw.
  trunk: policies.Cache
  tail: policies.Cache
  out: decode.Decoded


def windows(max_new: int) -> tuple[int, ...]:
  """Returns how many slots of the tails are read: all, or half, a quarter ...

  A decoding step is compiled for each.
  """
  found = {max_new}
  for part in (2, 4, 8):
    if max_new // part >= 64:
      found.add(-(-max_new // part))
  return tuple(sorted(found))


def work_off(
  policy: policies.Policy,
  params: policies.Params,
  prompts: Prompts,
  jobs: Jobs,
  *,
  slots: int,
  sampling: samplings.Sampling,
  stop_ids: Sequence[int],
  max_new: int,
  check_every: int = 1,
  fewer: int = 0,
) -> decode.Decoded:
  """Returns what all jobs write, a row of each.

  Args:
    stop_ids: a job ends with the first of these that it draws.
    check_every: tokens between two looks for a free slot.
    fewer: slots to go on with, when no more than these are live and no job
      waits; 0 for all. Another loop is compiled for them.
  """
  num_jobs = jobs.prompt.shape[0]
  params = policy.prepare(params)
  stops = jnp.asarray(list(stop_ids) or [-1], jnp.int32)
  start = prompts.length[jobs.prompt]

  def step(state: _State, window: int, mine) -> _State:
    job, keys, cut, budget = mine
    now = state.queue
    logits = policy.logits(params, state.hidden)
    drawn = samplings.draw(logits, keys, cut + now.written, sampling)
    hit = jnp.any(drawn.token[:, None] == stops[None], axis=-1) & now.live
    row = jnp.where(now.live, job, num_jobs)  # Of no job: dropped.
    hidden, tail = policy.extend(
      *(params, state.tail, drawn.token[:, None]),
      *((cut + now.written)[:, None], window),
      trunk=state.trunk,
      cut=cut,
    )
    return dataclasses.replace(
      state,
      queue=queue.advance(now, hit, budget),
      hidden=hidden[:, 0],
      tail=tail,
      out=_put(state.out, row, now.written, drawn, hit),
    )

  def write(state: _State, ladder, over) -> _State:
    """Writes until a slot can be filled, or nothing is left to write."""
    job = state.queue.job
    at = jnp.minimum(job, num_jobs - 1)
    mine = job, jobs.key[at], start[at], jobs.budget[at]
    for below, window in zip((0, *ladder), ladder, strict=False):
      first, last = below == 0, window == max_new

      def more(state, below=below, window=window, first=first, last=last):
        need = queue.longest(state.queue) + check_every
        inside = (first | (need > below)) & (last | (need <= window))
        full = ~queue.admissible(state.queue, num_jobs)
        return inside & full & ~over(state.queue)

      def some(state, window=window):
        if check_every == 1:
          return step(state, window, mine)
        return jax.lax.fori_loop(
          0, check_every, lambda _, x: step(x, window, mine), state
        )

      state = jax.lax.while_loop(more, some, state)
    return state

  def work(state: _State, ladder, over) -> _State:
    return jax.lax.while_loop(
      lambda state: ~over(state.queue),
      lambda state: write(_fill(state, prompts, jobs), ladder, over),
      state,
    )

  state = _begin(policy, prompts, num_jobs, slots, max_new)
  ladder = windows(max_new)
  if 0 < fewer < slots:
    few = lambda now: queue.dwindled(now, num_jobs, fewer)
    state = _keep(work(state, ladder, few), fewer)
    ladder = ladder[-2:]  # What is left at last is long.
  return work(state, ladder, lambda now: ~queue.running(now, num_jobs)).out


def _begin(policy, prompts: Prompts, num_jobs, slots, max_new) -> _State:
  zeros = lambda x: jnp.zeros((slots, *x.shape[1:]), x.dtype)
  floats = jnp.zeros((num_jobs, max_new), jnp.float32)
  out = decode.Decoded(
    tokens=floats.astype(jnp.int32),
    log_probs=floats,
    raw_log_probs=floats,
    length=jnp.zeros((num_jobs,), jnp.int32),
    stopped=jnp.zeros((num_jobs,), bool),
  )
  return _State(
    queue=queue.empty(slots, num_jobs),
    hidden=zeros(prompts.hidden),
    trunk=jax.tree.map(zeros, prompts.cache),
    tail=policy.init_cache(slots, max_new),
    out=out,
  )


def _fill(state: _State, prompts: Prompts, jobs: Jobs) -> _State:
  """Gives waiting jobs to the free slots, one after the other."""

  def one(carry):
    now, hidden, trunk = carry
    now, slot = queue.admit(now, jobs.budget)
    source = jobs.prompt[now.job[slot]]

    def copy(to, of):
      row = jax.lax.dynamic_index_in_dim(of, source)
      return jax.lax.dynamic_update_slice_in_dim(to, row, slot, axis=0)

    whole = prompts.hidden, prompts.cache
    return now, *jax.tree.map(copy, (hidden, trunk), whole)

  num_jobs = jobs.prompt.shape[0]
  now, hidden, trunk = jax.lax.while_loop(
    lambda carry: queue.admissible(carry[0], num_jobs),
    one,
    (state.queue, state.hidden, state.trunk),
  )
  return dataclasses.replace(state, queue=now, hidden=hidden, trunk=trunk)


def _keep(state: _State, slots: int) -> _State:
  """Leaves out slots that are free."""
  now, which = queue.keep(state.queue, slots)
  take = lambda tree: jax.tree.map(lambda x: x[which], tree)
  return dataclasses.replace(
    state,
    queue=now,
    hidden=take(state.hidden),
    trunk=take(state.trunk),
    tail=take(state.tail),
  )


def _put(out: decode.Decoded, row, t, drawn, hit) -> decode.Decoded:
  """Writes a token of each row's job, if it is one."""
  put = lambda buffer, x: buffer.at[row, t].set(x, mode="drop")
  return decode.Decoded(
    tokens=put(out.tokens, drawn.token),
    log_probs=put(out.log_probs, drawn.log_prob),
    raw_log_probs=put(out.raw_log_probs, drawn.raw_log_prob),
    length=out.length.at[row].set(t + 1, mode="drop"),
    stopped=out.stopped.at[row].set(hit, mode="drop"),
  )
