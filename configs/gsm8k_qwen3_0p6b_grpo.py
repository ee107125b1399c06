"""GRPO on GSM8K from Qwen3-0.6B, on one accelerator.

    rlx train gsm8k-qwen3-0p6b-grpo --model.path Qwen3-0.6B \
      --task.data.directory gsm8k

The first directory is a Hugging Face one (config.json, safetensors, tokeniser),
the second has train.jsonl and test.jsonl, or was prepared by tfds. Not run on a real
Qwen3-0.6B yet; on a tiny random Qwen3 directory and the real data it runs end to end.
"""

from rlx import experiment, objective, prompts, recipes
from rlx.config import spec
from rlx.data import splits
from rlx.optimizer import OptimizerConfig
from rlx.rewards import math_answer
from rlx.rollout.config import RolloutConfig
from rlx.train_state import LearnerConfig


def get_config() -> experiment.TrainConfig:
  return experiment.TrainConfig(
    name="gsm8k-qwen3-0p6b-grpo",
    model=experiment.Pretrained(path="Qwen3-0.6B"),
    task=prompts.PromptTask(
      data=spec(splits.gsm8k),
      rewards=(math_answer.correct,),
    ),
    recipe=spec(
      recipes.grpo,
      clip=objective.Clip(epsilon_low=0.2, epsilon_high=0.28),
      terms=objective.Terms(reduction="token-mean"),
    ),
    steps=200,
    rollout=RolloutConfig(
      num_prompts=32,
      group_size=8,
      max_prompt_length=384,
      max_completion_length=768,
      long_prompts="drop",
    ),
    optimizer=OptimizerConfig(learning_rate=1e-6, warmup_steps=10),
    learner=LearnerConfig(microbatch_tokens=16384),
    eval=experiment.EvalConfig(every=50, num=256),
  )
