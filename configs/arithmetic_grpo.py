"""GRPO on one-digit sums and differences, from a model made from scratch.

    rlx train arithmetic-grpo

Observed with seed 0 on two cores beside other runs, 15 s: the reward rises from 1.00
(mean of the first five steps) to 0.97 (of the last ten) on training problems, and
from 0.547 to 0.578 on 256 draws of the held-out ones. There are only 200 problems, of
which it has never seen an eighth: it has learnt its sums by heart, and little else.
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
      steps=150,
      batch_size=32,
      optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=10),
    ),
  )
