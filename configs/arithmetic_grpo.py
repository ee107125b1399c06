"""GRPO on one-digit sums and differences, from a model made from scratch.

    rlx train arithmetic-grpo

Observed with seed 0 on two cores beside other runs, 14 s: the mean reward of training
problems goes from 0.50 (first five steps) to 0.89 (last ten), success on the held-out
ones from 0.164 to 0.332 (256 draws). There are only 200 problems, and an eighth of them
is held out.
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
      data=spec(splits.arithmetic, digits=1),
      rewards=(arithmetic.correct_result,),
      vocabulary=arithmetic.WORDS,
    ),
    recipe=spec(recipes.grpo, terms=objective.Terms(entropy_coef=0.01)),
    steps=80,
    rollout=RolloutConfig(
      num_prompts=32,
      group_size=8,
      max_prompt_length=8,
      max_completion_length=5,
    ),
    optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=5),
    warm_start=experiment.WarmStart(
      steps=40,
      batch_size=32,
      optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=10),
    ),
  )
