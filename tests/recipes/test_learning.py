"""Every recipe makes updates on a bandit, reports them by the field's names, and
is paid more and more."""

import functools
import re

import jax
import numpy as np
import pytest

from rlx import metrics, optimizer, recipes
from rlx.rollout import summary
from tests import tiny

TASK = tiny.Say(turns=2)
SHAPE = tiny.shape(num_prompts=4, num_samples=8, action_tokens=1)
UPDATES = 10

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
  "step/adv_square",
  "step/adv_max",
  "step/adv_min",
  "step/zero_adv",
}
CLIP = {"clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"}
VALUE = {"loss/value", "value/mean"}
# Plain policy gradients clip no ratio, and a soft gate has no edge.
UNCLIPPED = {"reinforce", "gpg", "sapo", "mis_po", "pacore"}


@pytest.fixture(scope="module")
def made():
  return tiny.make_engine(tiny.policy(), SHAPE)


@functools.cache
def learner(make, own_network=False):
  recipe = make()
  log = tiny.batch(rows=SHAPE.rows, length=SHAPE.length, turns=SHAPE.turns)
  return tiny.make_learner(
    tiny.policy(),
    recipe,
    log,
    value=tiny.value(own_network) if recipe.needs_value else None,
    optimizer=optimizer.OptimizerConfig(learning_rate=0.3),
  )


def learn(made, trainer):
  """Metrics of each update, from a policy that is uniform."""
  state, out = trainer.init(jax.random.key(0)), []
  for step in range(UPDATES):
    played = tiny.play(
      made, state.params["policy"], TASK, first=step * SHAPE.num_prompts
    )
    log = played.record
    state, found, _ = trainer.update(state, None, log.rollout(), log.steps())
    out.append(
      metrics.fetch(found) | summary.measure(played)
    )
  return out


@pytest.mark.parametrize("make", recipes.ALL, ids=lambda f: f.__name__)
def test_reward_rises_on_a_bandit(made, make):
  out = learn(made, learner(make))
  reward = [found["reward"] for found in out]
  # Of seven tokens, one is paid, twice.
  assert np.mean(reward[:2]) < 0.8
  assert np.mean(reward[-2:]) > 1.5
  assert out[-1]["entropy"] < out[0]["entropy"]
  recipe, names = make(), set(out[0])
  expected = ALWAYS | (VALUE if recipe.needs_value else set())
  expected |= set() if recipe.name in UNCLIPPED else CLIP
  assert names >= expected
  for found in out:
    for name, value in found.items():
      assert re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_]+)*", name), name
      assert np.isfinite(value), name
    assert found["ratio/max"] == 1.0


def test_a_value_network_of_its_own_serves_as_well(made):
  out = learn(made, learner(recipes.ppo, own_network=True))
  assert np.mean([found["reward"] for found in out[-2:]]) > 1.5
