"""GRPO on reasoning-gym's generators from Qwen3-0.6B, on one accelerator.

    pip install 'rlx[reasoning-gym]'
    rlx train reasoning-gym-qwen3-0p6b-grpo --model.path Qwen3-0.6B
    rlx train reasoning-gym-qwen3-0p6b-grpo --task.data.datasets games countdown

The first path is a Hugging Face directory. Its scorers are the reward. Not run on a
real Qwen3-0.6B yet; `rlx envs reasoning-gym` shows the prompts.
"""

from rlx import experiment, objective, prompts, recipes
from rlx.config import spec
from rlx.envs import reasoning_gym
from rlx.optimizer import OptimizerConfig
from rlx.rollout.config import RolloutConfig
from rlx.train_state import LearnerConfig


def get_config() -> experiment.TrainConfig:
  return experiment.TrainConfig(
    name="reasoning-gym-qwen3-0p6b-grpo",
    model=experiment.Pretrained(path="Qwen3-0.6B"),
    task=prompts.PromptTask(
      data=spec(reasoning_gym.problems, datasets=("arithmetic", "algorithms")),
      rewards=(reasoning_gym.score,),
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
      max_prompt_length=512,
      max_completion_length=1024,
      long_prompts="drop",
    ),
    optimizer=OptimizerConfig(learning_rate=1e-6, warmup_steps=10),
    learner=LearnerConfig(microbatch_tokens=16384),
    eval=experiment.EvalConfig(every=50, num=256),
  )
