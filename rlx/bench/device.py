"""The same game, policy and tokens: episodes on the host and on the device.

The two are timed in turn, in one process, so that whatever else the machine does
hits both. Each is compiled before. What is drawn is compared, and must be equal.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import sharding
from rlx import tokenizer as tokenizers
from rlx.bench import measure
from rlx.envs import frozen_lake
from rlx.envs.device import language
from rlx.models import config as model_config
from rlx.models import policy as model_policy
from rlx.rollout import (
  device_program,
  engine,
  episodes,
  on_device,
  pool,
  sampling,
)

TASK = frozen_lake.FrozenLake()
# The smallest policy that reads the map and what was said.
SMALL = model_config.DecoderConfig(
  vocab_size=14,
  embed_dim=16,
  num_layers=1,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
  mlp_dim=32,
  layers="unroll",
  init_std=0.1,
)
# That of the quickstart.
LARGER = dataclasses.replace(
  SMALL,
  embed_dim=64,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  mlp_dim=256,
)
MODELS = {"small": SMALL, "quickstart": LARGER}
GROUPS = (4, 8, 16)
# How `rlx train` calls environments on the host, unless told otherwise.
CALLS = functools.partial(pool.Threads, 32, 60.0)


def run(
  models: Sequence[str] = tuple(MODELS),
  groups: Sequence[int] = GROUPS,
  *,
  task: frozen_lake.FrozenLake = TASK,
  num_prompts: int = 8,
  repeats: int = 7,
  report: Callable[[int], Any] = lambda done: None,
) -> dict[str, Any]:
  """Returns seconds and CPU-seconds of a batch both ways, as JSON values.

  `ratio` is how many times as long the host takes, of medians; `environment`
  is the game alone, without a policy, both ways.
  """
  cases = []
  for name in models:
    for group in groups:
      cases.append(_case(name, task, num_prompts, group, repeats))
      report(len(cases))
  rows = num_prompts * max(groups)
  alone = _alone(task, rows, repeats)
  report(len(cases) + 1)
  return {
    "bench": "device",
    "task": dataclasses.asdict(task),
    "num_prompts": num_prompts,
    "repeats": repeats,
    "batches": cases,
    "environment": alone,
    **measure.surroundings(),
  }


def _case(
  name: str,
  task: frozen_lake.FrozenLake,
  num_prompts: int,
  group: int,
  repeats: int,
) -> dict[str, Any]:
  tokenizer = tokenizers.WordTokenizer(task.words())
  model = model_policy.make_policy(MODELS[name])
  params = jax.jit(model.init)(jax.random.key(0))
  cells = task.size**2
  shape = engine.Shape(num_prompts, group, cells + 2, cells + 3, 1, task.turns)
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
  settings: Any = {
    "sampler": sampling.Sampling(),
    "stop_ids": tokenizer.stop_ids,
    "mesh": mesh,
  }
  hosted = engine.make_engine(model, shape, **settings)
  game = task.on_device()
  tables = language.make(game, tokenizer, model.vocab_size)
  program = device_program.make_program(model, shape, game, tables, **settings)
  key = jax.random.key(1)

  def batch(number: int) -> dict[str, Any]:
    ids = [number * num_prompts + i for i in range(num_prompts)]
    return {"prompt_ids": ids, "indices": ids, "version": 0}

  def host(number):
    make = lambda index: task.episode(index, "train")
    return episodes.play(
      *(hosted, params, key, tokenizer, make), **batch(number), calls=CALLS
    )

  def there(number):
    return on_device.play(
      program, params, key, tokenizer, "train", **batch(number)
    )

  for index in range((repeats + 1) * num_prompts):
    game.begin(index, "train", 0)  # Draws the map, which is kept.
  spent, found = _alternate({"host": host, "device": there}, repeats)
  logs = [one.record for one in found.values()]
  return {
    "model": name,
    "group_size": group,
    "rows": shape.rows,
    "turns": int(logs[0].turns.sum()),
    "same_tokens": bool((logs[0].tokens == logs[1].tokens).all()),
    "most_apart": float(np.abs(logs[0].log_probs - logs[1].log_probs).max()),
    **spent,
  }


def _alternate(
  ways: dict[str, Callable[[int], Any]], repeats: int
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Calls each in turn with the numbers 0, 1, ...; the first is not counted."""
  wall: dict[str, list[float]] = {name: [] for name in ways}
  cpu: dict[str, list[float]] = {name: [] for name in ways}
  found = {}
  for number in range(repeats + 1):
    for name, call in ways.items():
      began, used = time.perf_counter(), measure.cpu_seconds()
      found[name] = call(number)
      wall[name].append(time.perf_counter() - began)
      cpu[name].append(measure.cpu_seconds() - used)
  out: dict[str, Any] = {}
  for name in ways:
    out[f"{name}_s"] = wall[name][1:]
    out[f"{name}_cpu_s"] = cpu[name][1:]
  for kind in ("s", "cpu_s"):
    host, there = (statistics.median(out[f"{x}_{kind}"]) for x in ways)
    out["ratio" if kind == "s" else "cpu_ratio"] = host / there
  return out, found


def _alone(
  task: frozen_lake.FrozenLake, rows: int, repeats: int
) -> dict[str, Any]:
  """The game without a policy: every row takes the same moves both ways."""
  game = task.on_device()
  rng = np.random.default_rng(0)
  moves = rng.integers(0, len(game.actions), (rows, task.turns), np.int32)

  def host(number):
    first, reward = number * rows, np.zeros(rows, np.float32)
    for row in range(rows):
      one = task.episode(first + row, "train")
      one.reset(first + row)
      for move in moves[row]:
        _, paid, over, _, _ = one.step(game.actions[move])
        reward[row] += paid
        if over:
          break
    return reward

  @jax.jit
  def played(states):
    def one(state, moves):
      def step(carry, move):
        state, over = carry
        found = game.step(state, move, jnp)
        paid = jnp.where(over, 0.0, found.reward)
        shown = game.observe(found.state, jnp)
        return (found.state, over | found.terminated), (paid, shown)

      _, (paid, shown) = jax.lax.scan(step, (state, jnp.zeros((), bool)), moves)
      return paid.sum(), shown

    return jax.vmap(one)(states, jnp.asarray(moves))

  def there(number):
    ids = range(number * rows, (number + 1) * rows)
    states = [game.begin(i, "train", i) for i in ids]
    stacked = jax.tree.map(lambda *x: np.stack(x), *states)
    reward, shown = jax.device_get(played(stacked))
    del shown  # What a policy would read.
    return reward

  for index in range((repeats + 1) * rows):
    game.begin(index, "train", 0)  # Draws the map, which is kept.
  spent, found = _alternate({"host": host, "device": there}, repeats)
  same = bool(np.allclose(found["host"], found["device"]))
  return {"rows": rows, "same_rewards": same, **spent}
