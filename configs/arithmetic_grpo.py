"""GRPO on two-digit sums and differences, from a model made from scratch.

rlx train arithmetic-grpo
"""

import dataclasses

from rlx import experiment, objective, prompts, recipes
from rlx.config import spec
from rlx.configs import quickstart
from rlx.data import splits
from rlx.envs import arithmetic
from rlx.optimizer import OptimizerConfig
from rlx.rollout.config import RolloutConfig


def get_config() -> experiment.TrainConfig:
  return experiment.TrainConfig(
    name="arithmetic-grpo",
    # The quickstart's decoder, for another vocabulary.
    model=dataclasses.replace(quickstart.DECODER, vocab_size=19),
    task=prompts.PromptTask(
      data=spec(splits.arithmetic),
      rewards=(arithmetic.correct_result,),
      vocabulary=arithmetic.WORDS,
    ),
    recipe=spec(recipes.grpo, terms=objective.Terms(entropy_coef=0.01)),
    steps=100,
    rollout=RolloutConfig(
      num_prompts=32,
      group_size=8,
      max_prompt_length=8,
      max_completion_length=5,
    ),
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=5),
    warm_start=experiment.WarmStart(
      steps=300,
      batch_size=32,
      optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=10),
    ),
  )
