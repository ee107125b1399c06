"""One workload in this process: the loop of rlx with a clock around it."""

import dataclasses
import statistics
import time
from typing import Any

import jax
import numpy as np

from rlx import compiles, experiment, learner, loop, recipes, sharding
from rlx.bench import measure, tasks, workloads
from rlx.config import spec
from rlx.models import policy as model_policy
from rlx.rollout import config as rollout_config


@dataclasses.dataclass
class Clock:
  """What each step took; one entry a step in every list."""

  sample: list[float] = dataclasses.field(default_factory=list)
  train: list[float] = dataclasses.field(default_factory=list)
  ends: list[float] = dataclasses.field(default_factory=list)
  cpu: list[float] = dataclasses.field(default_factory=list)
  tokens: list[int] = dataclasses.field(default_factory=list)
  new_tokens: list[int] = dataclasses.field(default_factory=list)
  reward: list[float] = dataclasses.field(default_factory=list)


def run(workload: workloads.Workload, steps: int) -> dict[str, Any]:
  """Runs `steps` steps and returns what they took, as JSON values.

  Each update is waited for, so that a step is from the end of one update to the
  end of the next, and sampling and training are told apart.
  """
  clock = Clock()
  with compiles.count() as compiled:
    built = build(workload, steps)
    setup = time.time(), measure.cpu_seconds()
    _loop(workload, steps, built, clock)
  return {
    "workload": dataclasses.asdict(workload) | {"steps": steps},
    "num_params": built.num_params,
    "start_to_setup_s": setup[0] - measure.process_start(),
    "start_to_first_step_s": clock.ends[0] - measure.process_start(),
    "cpu_to_first_step_s": clock.cpu[0],
    "compilations": compiled.num,
    "compile_s": compiled.seconds,
    "peak_rss_mib": measure.peak_mib(),
    **_steps(workload, clock, setup),
    **measure.surroundings(),
  }


@dataclasses.dataclass(frozen=True)
class Built:
  """What a user of the library puts together by hand."""

  config: experiment.TrainConfig
  learner: learner.Learner
  collect: Any
  state: Any
  num_params: int


def build(workload: workloads.Workload, steps: int) -> Built:
  """Returns the parts of a run, with parameters made and placed."""
  config = experiment.TrainConfig(
    name=f"bench-{workload.name}",
    model=workload.model,
    task=None,
    recipe=spec(recipes.grpo),
    steps=steps,
    rollout=rollout_config.RolloutConfig(
      num_prompts=workload.num_prompts, group_size=workload.group_size
    ),
    optimizer=workload.optimizer,
    learner=workload.learner,
  )
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
  model = model_policy.make_policy(workload.model)
  compiled, collect = tasks.make_collect(workload, model, mesh)
  trainer = learner.make_learner(
    model,
    config.recipe.build(),
    config.optimizer,
    config.learner,
    mesh=mesh,
    temperature=workload.temperature,
    rows=workload.rows,
    length=compiled.shape.length,
    turns=workload.turns,
    prompt=workload.prompt_tokens,
    group=workload.group_size,
    max_chosen=workload.turns * workload.new_tokens,
  )
  trainer.prepare(None)  # While the parameters are made.
  state = trainer.init(jax.random.key(config.seed))
  size = sum(x.size for x in jax.tree.leaves(state.params["policy"]))
  return Built(config, trainer, collect, state, size)


def _loop(workload, steps, built: Built, clock: Clock) -> None:
  def collect(learnt, ids, indices, version, memory):
    began = time.perf_counter()
    played = built.collect(learnt[0], ids, indices, version)
    clock.sample.append(time.perf_counter() - began)
    clock.reward.append(float(played.record.outcome().mean()))
    return played, memory

  def update(state, reference, rollout, steps):
    began = time.perf_counter()
    out = built.learner.update(state, reference, rollout, steps)
    jax.block_until_ready(out[0])
    clock.train.append(time.perf_counter() - began)
    clock.ends.append(time.time())
    clock.cpu.append(measure.cpu_seconds())
    clock.tokens.append(int(np.asarray(rollout.valid).sum()))
    clock.new_tokens.append(int(np.asarray(rollout.mask).sum()))
    return out

  loop.run(
    built.config,
    built.learner._replace(update=update),
    collect,
    built.state,
    None,
    finish=lambda done, state: False,
    not_finite=lambda done, state: None,
  )


def _steps(
  workload, clock: Clock, setup: tuple[float, float]
) -> dict[str, Any]:
  began, cpu_began = setup
  seconds = np.diff([began, *clock.ends])
  cpu = np.diff([cpu_began, *clock.cpu])
  # Of a run too short for its warm-up, the last step counts.
  first = min(workload.warmup, len(seconds) - 1)
  counted = slice(first, None)
  median = lambda x: statistics.median(x[counted])
  step, train = median(seconds), median(clock.train)
  new = median(clock.new_tokens)
  return {
    "step_s_min": float(min(seconds[counted])),
    "step_s_median": float(step),
    "cpu_s_per_step_min": float(min(cpu[counted])),
    "cpu_s_per_step_median": float(median(cpu)),
    "sample_s_median": median(clock.sample),
    "train_s_median": train,
    "sample_tokens_per_s": new / median(clock.sample),
    "train_tokens_per_s": median(clock.tokens) / train,
    "new_tokens_per_s": new / float(step),
    "step_s": seconds.tolist(),
    "cpu_s": cpu.tolist(),
    "sample_s": clock.sample,
    "train_s": clock.train,
    "new_tokens": clock.new_tokens,
    "reward": clock.reward,
  }
