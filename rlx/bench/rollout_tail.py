"""Completions of very different lengths: slots that are refilled, and batches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import policy as policies
from rlx import sharding
from rlx.bench import rollout_clock, workloads
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import decode, sampling, serve


@dataclasses.dataclass(frozen=True)
class Workload:
  """Log-normal lengths, imposed as budgets: no stop token can be drawn."""

  sequences: int = 256
  slots: int = 32
  """And rows of a batch."""
  median: int = 48
  sigma: float = 1.0
  most: int = 512
  prompt_tokens: int = 32
  """Of each sequence, and of each another prompt."""
  model: model_config.DecoderConfig = workloads.MODEL


def budgets(workload: Workload, seed: int = 0) -> np.ndarray:
  """Returns how many tokens each sequence has."""
  rng = np.random.default_rng(seed)
  drawn = rng.normal(
    np.log(workload.median), workload.sigma, workload.sequences
  )
  return np.clip(np.round(np.exp(drawn)), 1, workload.most).astype(np.int32)


def run(workload: Workload = Workload(), repeats: int = 3) -> dict[str, Any]:
  """Returns tokens/s of three ways to write the same sequences, in turns.

  `continuous` has slots that are refilled; `batches` is the loop of a whole
  batch, which ends when all its rows are done and reads their whole caches;
  `batches_windowed` is the loop of the slots with as many jobs as slots, which
  reads what the longest needs. `ratio` is over `batches`, of medians.
  """
  model = model_policy.make_policy(workload.model)
  params = jax.jit(model.init)(jax.random.key(0))
  size = workload.sequences
  rng = np.random.default_rng(1)
  tokens = rng.integers(3, 259, (size, workload.prompt_tokens), np.int32)
  given = _Given(
    tokens=tokens,
    length=np.full(size, workload.prompt_tokens, np.int32),
    ids=np.arange(size, dtype=np.int32),
    budget=budgets(workload),
  )
  ways = {
    "continuous": _served(workload, model, params, given, size),
    "batches": _batches(workload, model, params, given),
    "batches_windowed": _served(workload, model, params, given, workload.slots),
  }
  spent, found = rollout_clock.alternate(ways, repeats)
  written, new = found["continuous"], int(given.budget.sum())
  same = lambda other: bool((written.tokens == other.tokens).all())
  gap = lambda other: float(np.abs(written.log_probs - other.log_probs).max())
  at_once = [given.budget[i : i + workload.slots] for i in _starts(workload)]
  return {
    "workload": dataclasses.asdict(workload),
    "new_tokens": new,
    "longest": int(given.budget.max()),
    "steps_of_batches": int(sum(part.max() for part in at_once)),
    "steps_of_full_slots": new / workload.slots,
    "same_tokens": same(found["batches"]) and same(found["batches_windowed"]),
    "log_probs_apart": max(
      gap(found["batches"]), gap(found["batches_windowed"])
    ),
    **rollout_clock.rates(spent, new),
    "ratio": rollout_clock.ratio(spent, "batches", "continuous"),
    "ratio_windowed": rollout_clock.ratio(
      spent, "batches_windowed", "continuous"
    ),
  }


@dataclasses.dataclass(frozen=True)
class _Given:
  tokens: np.ndarray
  length: np.ndarray
  ids: np.ndarray
  budget: np.ndarray


def _starts(workload: Workload) -> range:
  return range(0, workload.sequences, workload.slots)


def _join(parts: list[decode.Decoded]) -> decode.Decoded:
  return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _served(workload, model, params, given: _Given, jobs: int):
  """Works the sequences off, `jobs` at a time."""
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
  sizes = serve.Sizes(
    num_prompts=jobs,
    num_jobs=jobs,
    prompt_tokens=workload.prompt_tokens,
    new_tokens=workload.most,
    slots=workload.slots,
    fewer=serve.fewer(workload.slots, mesh),
  )
  made = serve.make_serve(
    model, sizes, sampler=sampling.Sampling(), stop_ids=(), mesh=mesh
  )
  zero = np.zeros(jobs, np.int32)

  def call():
    parts = []
    for start in range(0, workload.sequences, jobs):
      at = slice(start, start + jobs)
      asked = serve.Orders(
        prompt=np.arange(jobs),
        prompt_id=given.ids[at],
        sample=zero,
        budget=given.budget[at],
      )
      args = given.tokens[at], given.length[at], asked
      parts.append(jax.device_get(made(params, jax.random.key(2), *args)))
    return _join(parts)

  return call


def _batches(workload, model: policies.Policy, params, given: _Given):
  """Writes batches of as many rows as there are slots, as an engine does."""

  @jax.jit
  def batch(params, key, tokens, length, ids, budget):
    hidden, trunk = decode.prefill(
      model, params, tokens, length, workload.prompt_tokens
    )
    return decode.decode(
      *(model, params, model.init_cache(workload.slots, workload.most)),
      *(hidden, length, jnp.ones(length.shape, bool)),
      sampling.row_keys(key, ids, jnp.zeros_like(ids)),
      sampling=sampling.Sampling(),
      stop_ids=(),
      max_new=workload.most,
      window=workload.most,
      trunk=trunk,
      cut=length,
      budget=budget,
    )[0]

  def call():
    parts = []
    for start in _starts(workload):
      at = slice(start, start + workload.slots)
      args = given.tokens[at], given.length[at], given.ids[at], given.budget[at]
      parts.append(jax.device_get(batch(params, jax.random.key(2), *args)))
    return _join(parts)

  return call
