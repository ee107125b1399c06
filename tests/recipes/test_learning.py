"""Every recipe trains end to end on a task that gives it what it needs: batches
as its plan collects them, its second learners, and a reward that rises."""

import re
from typing import Any

import jax
import numpy as np
import pytest

from rlx import (
  experiment,
  learner,
  loop,
  optimizer,
  recipes,
  rollouts,
  sharding,
  train_state,
)
from rlx.rollout import config as rollout_config
from tests import tiny
from tests.recipes import worlds

UPDATES = 8
OPTIMIZER = optimizer.OptimizerConfig(learning_rate=0.3)

# What every recipe reports, and what those with a ratio or a value add.
ALWAYS = {
  "loss",
  "loss/policy",
  "entropy",
  "ppo_kl",
  "ratio/mean",
  "ratio/max",
  "mismatch_kl/mean",
  "mismatch_kl/max",
  "grad_norm",
  "learning_rate",
  "skipped",
  "step/adv_mean",
  "step/adv_std",
  "step/adv_max",
  "step/adv_min",
  "step/zero_adv",
}
FINITE = {"loss", "grad_norm", "learning_rate", "skipped", "reward", "success"}
CLIP = {"clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"}
VALUE = {"loss/value", "value/mean"}

# Plain policy gradients clip no ratio, and a soft gate has no edge.
UNCLIPPED = {"reinforce", "gpg", "sapo", "mis_po", "pacore"}

# Completions for methods that cut them, episodes of two turns for the others.
WRITTEN = {"spo_chain", "spo_tree", "vsrm", "branch_grpo", "pav", "pacore"}

# Sizes that fit two tokens; all else is as published.
SMALL: dict[str, dict[str, Any]] = {
  "spo_chain": {"interval": 1, "continuations": 4, "max_steps": 2},
  "spo_tree": {"branches": "4,2", "segment_tokens": 1},
  "branch_grpo": {"branches": "4,2", "segment_tokens": 1},
  "pav": {"continuations": 4, "step_tokens": 1, "max_steps": 2},
  "vsrm": {
    **{"continuations": 4, "max_tokens": 1, "max_steps": 2, "end": "l"},
    **{"first": 0, "apart": 0},
  },
  "tree_grpo": {"branches": "4,2"},
  "pacore": {"fewest": 1, "most": 2, "easiest": 1.01},
}


def settings(recipe: recipes.Recipe) -> experiment.TrainConfig:
  written = recipe.name in WRITTEN
  return experiment.TrainConfig(
    name=recipe.name,
    model=None,
    task=worlds.WRITE if written else worlds.Say(),
    recipe=None,
    steps=UPDATES,
    rollout=rollout_config.RolloutConfig(
      num_prompts=4,
      group_size=8,
      max_prompt_length=8 if recipe.name == "pacore" else 3,
      max_turn_length=4,
      max_completion_length=2 if written else 1,
    ),
    learner=train_state.LearnerConfig(microbatch_tokens=0),
  )


class Run:
  """A recipe, bound to its task and to the tiny policy."""

  def __init__(self, recipe: recipes.Recipe, own_network: bool = False):
    self.recipe, self.config = recipe, settings(recipe)
    model, mesh = tiny.policy(), tiny.one_device()
    columns = rollouts.columns(self.config.task, recipe)
    shape = rollouts.shape_of(self.config)
    size = recipe.plan.size(shape)
    sharding.check_divides("rows", size.rows, mesh)
    self.learner = learner.make_learner(
      *(model, recipe, OPTIMIZER, self.config.learner),
      mesh=mesh,
      temperature=1.0,
      rows=size.rows,
      length=size.length,
      turns=size.turns,
      value=tiny.value(own_network) if recipe.needs_value else None,
      memory=recipe.plan.memory(shape),
      extras=("length", "truncated", *columns, *recipe.plan_extras()),
    )
    self.gather = rollouts.collect(
      self.config, recipe, columns, model, tiny.tokenizer(), mesh
    ).gather
    self.done: list[loop.Done] = []

  def learn(self, state=None, stop_at=None) -> train_state.TrainState:
    def finish(done, state):
      self.done.append(done)
      return done.step == stop_at

    return loop.run(
      self.config,
      self.learner,
      self.gather,
      self.learner.init(jax.random.key(0)) if state is None else state,
      None,
      finish=finish,
      not_finite=lambda done, state: pytest.fail(str(done.metrics)),
    )


def made(method) -> recipes.Recipe:
  return method(**SMALL.get(method.__name__, {}))


@pytest.mark.parametrize("method", recipes.ALL, ids=lambda f: f.__name__)
def test_it_trains_and_the_reward_rises(method):
  run = Run(made(method))
  state = run.learn()
  assert int(state.step) == UPDATES
  reward = [done.metrics["reward"] for done in run.done]
  # Two tokens or turns; of seven tokens, one is paid.
  most = 1.0 if run.recipe.name in {*WRITTEN, "hi_agent"} else 2.0
  assert np.mean(reward[:2]) < 0.6 * most
  assert np.mean(reward[-2:]) > max(0.6 * most, reward[0] + 0.2 * most)
  # In a batch that teaches nothing there is no loss.
  names = set().union(*(done.metrics for done in run.done))
  expected = ALWAYS | (VALUE if run.recipe.objective.needs_value else set())
  expected |= set() if run.recipe.name in UNCLIPPED else CLIP
  assert names >= expected
  for done in run.done:
    for name, value in done.metrics.items():
      assert re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_]+)*", name), name
      # A mean of nothing is NaN, as where every group has learnt all there is.
      assert np.isfinite(value) or name not in FINITE, name
    if np.isfinite(done.metrics.get("entropy", np.nan)):
      assert done.metrics["ratio/max"] == 1.0


def test_a_value_network_of_its_own_serves_as_well():
  run = Run(recipes.ppo(), own_network=True)
  run.learn()
  assert np.mean([done.metrics["reward"] for done in run.done[-2:]]) > 1.2


@pytest.mark.parametrize("method", [recipes.oprl, recipes.rapo, recipes.srgpo])
def test_second_learners_and_memories_resume_bit_for_bit(method):
  run = Run(made(method))
  straight = tiny.host(run.learn())
  kept = tiny.host(run.learn(stop_at=3))
  places = jax.tree.map(jax.device_put, kept, run.learner.placements)
  resumed = tiny.host(run.learn(state=places))
  jax.tree.map(np.testing.assert_array_equal, straight, resumed)
  grown = (straight.evidence, straight.memory, straight.credit)
  assert jax.tree.leaves(grown)
