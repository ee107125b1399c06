"""What is measured: models, shapes and settings, in one place."""

import dataclasses

from rlx import optimizer as optimizers
from rlx import train_state
from rlx.models import config as model_config

# Qwen3 style, 4.07 million parameters.
MODEL = model_config.DecoderConfig(
  vocab_size=512,
  embed_dim=256,
  num_layers=4,
  num_heads=8,
  num_kv_heads=4,
  head_dim=32,
  mlp_dim=1024,
  rope_theta=10_000.0,
  norm_eps=1e-6,
  tied_embeddings=True,
  qk_norm=True,
  layers="unroll",
)


@dataclasses.dataclass(frozen=True)
class Workload:
  """Steps of GRPO on made-up text: fresh prompts and samples in each step.

  Every turn is exactly `new_tokens` long, as no stop token can be drawn. The
  reward is the share of lower-case letters in what the policy wrote. One update
  a step, without a reference model.
  """

  name: str
  num_prompts: int
  group_size: int
  turns: int
  """Of an episode; 1 is a completion, which no environment answers."""
  prompt_tokens: int
  turn_tokens: int
  """What is said to the policy between two of its turns."""
  new_tokens: int
  """Of each turn."""
  steps: int
  """In all, warm-up included."""
  model: model_config.DecoderConfig = MODEL
  optimizer: optimizers.OptimizerConfig = optimizers.OptimizerConfig(
    learning_rate=1e-3, b1=0.9, b2=0.95, max_grad_norm=0.0
  )
  learner: train_state.LearnerConfig = train_state.LearnerConfig()
  temperature: float = 1.0
  warmup: int = 3
  """First steps that are not counted."""

  @property
  def rows(self) -> int:
    return self.num_prompts * self.group_size

  @property
  def new_tokens_per_step(self) -> int:
    return self.rows * self.turns * self.new_tokens


GRPO = Workload(
  name="grpo",
  num_prompts=8,
  group_size=8,
  turns=1,
  prompt_tokens=32,
  turn_tokens=0,
  new_tokens=64,
  steps=12,
)

# A turn is closed by one token, and what is said is 12: see `tasks.Bytes`.
AGENT = Workload(
  name="agent",
  num_prompts=4,
  group_size=4,
  turns=3,
  prompt_tokens=20,
  turn_tokens=13,
  new_tokens=16,
  steps=12,
)

ALL = {workload.name: workload for workload in (GRPO, AGENT)}
