"""The compiled program of continuous batching, for one policy and its sizes."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from rlx import policy as policies
from rlx import pytree, sharding
from rlx.rollout import decode, prefill, sampling
from rlx.rollout import engine as engines
from rlx.rollout import slots as slot_lib


class Sizes(NamedTuple):
  """Everything about a batch of jobs that is static."""

  num_prompts: int
  num_jobs: int
  prompt_tokens: int  # Longest prompt.
  new_tokens: int  # Most that a job may write.
  slots: int
  check_every: int = 1  # Tokens between two looks for a free slot.
  prefill_tokens: int = prefill.MOST  # Of prompts, computed at once.
  # Slots of each device to go on with at last: fewer are less work on a CPU.
  fewer: int = 0


@pytree.dataclass
class Orders:
  """Jobs in the order of the queue; NumPy or device arrays."""

  prompt: jax.Array | np.ndarray  # [J], which row of the prompts.
  prompt_id: jax.Array | np.ndarray  # [J], and
  sample: jax.Array | np.ndarray  # [J]: see `sampling.row_keys`.
  budget: jax.Array | np.ndarray  # [J], most tokens.


# (params, key, tokens[P C], length[P], Orders) -> Decoded, a row of each job.
Serve = Callable[..., decode.Decoded]


def make_serve(
  policy: policies.Policy,
  sizes: Sizes,
  *,
  sampler: sampling.Sampling,
  stop_ids: tuple[int, ...],
  mesh: Mesh,
) -> Serve:
  """Returns the compiled program that works off a batch of jobs.

  Over several devices, each serves its part of the queue with its part of the
  slots, and they do not wait for each other.

  Raises:
    ValueError: slots or jobs do not divide over the devices.
  """
  sharding.check_divides("rollout.slots", sizes.slots, mesh)
  sharding.check_divides("jobs", sizes.num_jobs, mesh)
  devices = sharding.batch_devices(mesh)

  def work(params, key, tokens, length, orders):
    hidden, cache = prefill.prefill(
      policy, params, tokens, length, sizes.prefill_tokens
    )
    return slot_lib.work_off(
      policy,
      params,
      slot_lib.Prompts(hidden=hidden, cache=cache, length=length),
      slot_lib.Jobs(
        prompt=orders.prompt,
        key=sampling.row_keys(key, orders.prompt_id, orders.sample),
        budget=jnp.minimum(orders.budget, sizes.new_tokens),
      ),
      slots=sizes.slots // devices,
      sampling=sampler,
      stop_ids=stop_ids,
      max_new=sizes.new_tokens,
      check_every=sizes.check_every,
      fewer=sizes.fewer,
    )

  if devices > 1:
    whole, part = PartitionSpec(), PartitionSpec(("data", "fsdp"))
    work = jax.shard_map(
      work,
      mesh=mesh,
      in_specs=(whole, whole, part, part, part),
      out_specs=part,
      axis_names={"data", "fsdp"},
      check_vma=False,
    )
  run = jax.jit(work)
  place = functools.partial(
    jax.device_put, device=sharding.batch_sharding(mesh, 1)
  )

  def serve(params, key, tokens, length, orders):
    tokens, length, orders = deal(tokens, length, orders, devices)
    placed = jax.tree.map(
      lambda x: place(np.asarray(x, np.int32)), (tokens, length, orders)
    )
    return run(params, key, *placed)

  return serve


def fewer(slots: int, mesh: Mesh) -> int:
  """Returns a quarter of a device's slots on a CPU, 0 where that is few.

  An accelerator reads the parameters in each step, however few the rows.
  """
  each = slots // sharding.batch_devices(mesh)
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  return each // 4 if on_cpu and each >= 16 else 0


def deal(tokens, length, orders: Orders, devices: int):
  """Returns the arguments with each device's prompts beside its jobs.

  A device gets the rows that its jobs need, so that a prompt whose jobs lie on
  two devices is computed on both.
  """
  if devices == 1:
    return tokens, length, orders
  prompt = np.asarray(orders.prompt).reshape(devices, -1)
  needed = [np.unique(part, return_inverse=True) for part in prompt]
  most = max(len(rows) for rows, _ in needed)
  rows = np.concatenate([np.resize(rows, most) for rows, _ in needed])
  where = np.concatenate([where for _, where in needed])
  dealt = Orders(
    prompt=where,
    prompt_id=orders.prompt_id,
    sample=orders.sample,
    budget=orders.budget,
  )
  return np.asarray(tokens)[rows], np.asarray(length)[rows], dealt


def make_engine(
  policy: policies.Policy,
  shape: engines.Shape,
  *,
  slots: int,
  sampler: sampling.Sampling,
  stop_ids: tuple[int, ...],
  mesh: Mesh,
  check_every: int = 1,
  prefill_tokens: int = prefill.MOST,
) -> engines.Engine:
  """Returns an engine of single turns, which keeps nothing of what it read.

  Args:
    check_every: tokens between two looks for a free slot.
    prefill_tokens: of prompts, that a device computes at once.

  Raises:
    ValueError: the shape has several turns, or does not divide over the mesh.
  """
  if shape.turns > 1:
    raise ValueError(f"turns={shape.turns}: slots are for one turn only")
  sizes = Sizes(
    num_prompts=shape.num_prompts,
    num_jobs=shape.rows,
    prompt_tokens=shape.prompt_tokens,
    new_tokens=shape.action_tokens,
    slots=min(slots, shape.rows),
    check_every=check_every,
    prefill_tokens=prefill_tokens,
    fewer=fewer(min(slots, shape.rows), mesh),
  )
  serve = make_serve(
    policy, sizes, sampler=sampler, stop_ids=stop_ids, mesh=mesh
  )
  prompt = np.repeat(np.arange(shape.num_prompts), shape.num_samples)
  sample = np.tile(np.arange(shape.num_samples), shape.num_prompts)
  budget = np.full(shape.rows, shape.action_tokens)

  def first(params, key, prompt_ids, tokens, length):
    ids = np.asarray(prompt_ids)[prompt]
    asked = Orders(prompt=prompt, prompt_id=ids, sample=sample, budget=budget)
    return serve(params, key, tokens, length, asked), None

  def turn(*args, **kwargs):
    raise ValueError("slots are for one turn only")

  # What is sent is dealt to the devices on the host.
  return engines.Engine(shape, first, turn, np.asarray)
