"""Sampling alone: one turn, very different lengths, and the memory's limit."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rlx import sharding
from rlx.bench import (
  measure,
  rollout_clock,
  rollout_limit,
  rollout_tail,
  tasks,
  workloads,
)
from rlx.models import policy as model_policy

PARTS = ("single", "tail", "limit")


def run(
  parts: Sequence[str] = PARTS,
  *,
  single: workloads.Workload = workloads.GRPO,
  tail: rollout_tail.Workload = rollout_tail.Workload(),
  limit: Sequence[rollout_limit.Workload] | None = None,
  repeats: int = 5,
  report: Callable[[int], Any] = lambda done: None,
) -> dict[str, Any]:
  """Returns what was measured of each part, as JSON values.

  `single` is a call of the compiled program and the fetching of what it wrote;
  for the others see `rollout_tail.run` and `rollout_limit.run`.
  """
  ways = {
    "single": lambda: _single(single, repeats),
    "tail": lambda: rollout_tail.run(tail, repeats),
    "limit": lambda: rollout_limit.run(limit, repeats),
  }
  found: dict[str, Any] = {"bench": "rollout", "repeats": repeats}
  for done, part in enumerate(parts, 1):
    found[part] = ways[part]()
    report(done)
  return {**found, **measure.surroundings()}


def _single(workload: workloads.Workload, repeats: int) -> dict[str, Any]:
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
  model = model_policy.make_policy(workload.model)
  made, _ = tasks.make_collect(workload, model, mesh)
  params = jax.jit(model.init)(jax.random.key(0))
  rng = np.random.default_rng(0)
  size = (workload.num_prompts, workload.prompt_tokens)
  place = lambda x: made.place(np.asarray(x, np.int32))
  given = (
    place(np.arange(workload.num_prompts)),
    place(rng.integers(3, 259, size)),
    place(np.full(workload.num_prompts, workload.prompt_tokens)),
  )
  call = lambda: jax.device_get(
    made.first(params, jax.random.key(1), *given)[0]
  )
  spent, written = rollout_clock.alternate({"sample": call}, repeats)
  tokens = int(written["sample"].length.sum())
  return {"new_tokens": tokens, **rollout_clock.rates(spent, tokens)}
