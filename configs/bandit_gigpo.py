"""GiGPO on a contextual bandit of eight pulls, on the device, from scratch.

rlx train bandit-gigpo

Not run to its end yet.
"""

import dataclasses

from rlx import experiment, objective, recipes
from rlx.config import spec
from rlx.configs import quickstart
from rlx.envs.bandit import Bandit
from rlx.optimizer import OptimizerConfig
from rlx.rollout.config import RolloutConfig


def get_config() -> experiment.TrainConfig:
  return experiment.TrainConfig(
    name="bandit-gigpo",
    # The quickstart's decoder, for another vocabulary.
    model=dataclasses.replace(quickstart.DECODER, vocab_size=15),
    task=Bandit(),
    recipe=spec(recipes.gigpo, terms=objective.Terms(entropy_coef=0.01)),
    steps=60,
    rollout=RolloutConfig(
      num_prompts=16,
      group_size=8,
      max_prompt_length=3,
      max_turn_length=5,
      max_completion_length=1,
    ),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=5),
  )
