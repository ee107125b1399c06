"""GiGPO on word problems with a calculator: an agent that calls a tool.

    rlx train calculator

Observed with seed 0 on two cores beside other runs, 153 s, compilation included:
success on 256 held-out problems with sampled actions (greedy in brackets) goes from
0.676 (0.973) to 0.984 (0.996).
"""

import dataclasses

from rlx import experiment, objective, recipes
from rlx.config import spec
from rlx.configs import quickstart
from rlx.envs import arithmetic
from rlx.optimizer import OptimizerConfig
from rlx.rollout.config import RolloutConfig
from rlx.tools import task, word_problems


def get_config() -> experiment.TrainConfig:
  return experiment.TrainConfig(
    name="calculator",
    # The quickstart's decoder, for another vocabulary.
    model=dataclasses.replace(quickstart.DECODER, vocab_size=31),
    task=task.ToolTask(
      data=spec(word_problems.problems),
      tools=(word_problems.calculate,),
      rewards=(arithmetic.correct_result,),
      respond=word_problems.respond,
      turns=3,
      describe=False,
      vocabulary=word_problems.WORDS,
    ),
    recipe=spec(recipes.gigpo, terms=objective.Terms(entropy_coef=0.01)),
    steps=60,
    rollout=RolloutConfig(
      num_prompts=32,
      group_size=8,
      max_prompt_length=15,
      max_turn_length=14,
      max_completion_length=12,
    ),
    optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=5),
    warm_start=experiment.WarmStart(
      steps=300,
      batch_size=32,
      num_demonstrations=8192,
      optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=10),
    ),
  )
