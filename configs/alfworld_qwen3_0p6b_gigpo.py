"""GiGPO on household tasks from Qwen3-0.6B, on one accelerator.

    pip install 'rlx[alfworld]'
    rlx train alfworld-qwen3-0p6b-gigpo --model.path Qwen3-0.6B

The path is a Hugging Face directory. Tasks are generated, nothing is downloaded, and
each observation lists the commands that are possible. Not run on a real Qwen3-0.6B
yet; `rlx play alfworld` shows what the policy sees.
"""

from rlx import experiment, recipes
from rlx.config import spec
from rlx.envs.alfworld import AlfWorld
from rlx.optimizer import OptimizerConfig
from rlx.rollout.config import RolloutConfig
from rlx.train_state import LearnerConfig


def get_config() -> experiment.TrainConfig:
  return experiment.TrainConfig(
    name="alfworld-qwen3-0p6b-gigpo",
    model=experiment.Pretrained(path="Qwen3-0.6B"),
    task=AlfWorld(),
    recipe=spec(recipes.gigpo),
    steps=150,
    rollout=RolloutConfig(
      num_prompts=16,
      group_size=8,
      max_prompt_length=512,
      max_turn_length=384,
      max_completion_length=64,
      # The engine is slow, and only one command is carried out in a process.
      environment_pool="processes",
      environment_seconds=600.0,
    ),
    optimizer=OptimizerConfig(learning_rate=1e-6, warmup_steps=10),
    learner=LearnerConfig(microbatch_tokens=16384),
    eval=experiment.EvalConfig(every=25, num=64),
  )
