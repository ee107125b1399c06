"""What an experiment is: one frozen dataclass, every default in one place."""

import dataclasses
from typing import Any, Literal

from rlx import optimizer as optimizers
from rlx import sharding, train_state
from rlx.rollout import config as rollout_config


def _require(config: Any, path: str, least: int, *names: str) -> None:
  for name in names:
    value = getattr(config, name)
    if value < least:
      raise ValueError(f"{path}{name}={value}: must be {least} or more")


@dataclasses.dataclass(frozen=True)
class WarmStart:
  """Supervised training on demonstrations before reinforcement."""

  steps: int = 100
  """Updates; 0 for no warm start."""
  batch_size: int = 64
  """Demonstrations in an update."""
  num_demonstrations: int = 2048
  """Distinct demonstrations."""
  microbatch_tokens: int = 2048
  """Tokens that go through the model at once; 0 for a whole batch."""
  optimizer: optimizers.OptimizerConfig = optimizers.OptimizerConfig(
    learning_rate=1e-3
  )
  """Its optimiser; the one of reinforcement starts afresh."""

  def __post_init__(self):
    _require(self, "warm_start.", 0, "steps")
    _require(self, "warm_start.", 1, "batch_size", "num_demonstrations")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """Evaluation on what is held out."""

  every: int = 0
  """Steps between evaluations; 0 evaluates only before and after."""
  num: int = 256
  """Held-out prompts, or episodes."""
  samples: int = 1
  """Completions of each, at the sampling settings of the rollout."""
  greedy: bool = True
  """Also evaluate with the likeliest tokens."""

  def __post_init__(self):
    _require(self, "eval.", 0, "every")
    _require(self, "eval.", 1, "num", "samples")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When the run is saved."""

  every: int = 50
  """Steps between checkpoints; the last step is always saved."""
  keep: int = 2
  """Checkpoints kept, beside the best one."""

  def __post_init__(self):
    _require(self, "checkpoint.", 1, "every", "keep")


@dataclasses.dataclass(frozen=True)
class LogConfig:
  """What is written down."""

  samples_every: int = 20
  """Steps between files of samples; 0 for none."""
  num_samples: int = 16
  """Sequences in such a file."""
  wandb_project: str | None = None
  """Also log to this Weights & Biases project."""

  def __post_init__(self):
    _require(self, "log.", 0, "samples_every", "num_samples")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One experiment."""

  name: str
  """Of the experiment; runs are kept in runs/NAME unless --workdir is given."""
  model: Any
  """A `DecoderConfig` for a model made from scratch, or a `Pretrained`."""
  task: Any
  """An environment family (`envs.protocol.Task`), or `Prompts` with rewards."""
  recipe: Any
  """The method, see `rlx recipes`."""
  seed: int = 0
  """Of everything random."""
  steps: int = 100
  """Batches to learn from."""
  rollout: rollout_config.RolloutConfig = rollout_config.RolloutConfig()
  """How much is sampled in a step."""
  optimizer: optimizers.OptimizerConfig = optimizers.OptimizerConfig()
  """The policy's optimiser."""
  learner: train_state.LearnerConfig = train_state.LearnerConfig()
  """How a batch is turned into updates."""
  value: Literal["none", "trunk", "own"] = "none"
  """Where the value function has its features from, if the recipe has one."""
  warm_start: WarmStart | None = None
  """Supervised training before reinforcement."""
  eval: EvalConfig = EvalConfig()
  """Evaluation on what is held out."""
  checkpoint: CheckpointConfig = CheckpointConfig()
  """When the run is saved."""
  log: LogConfig = LogConfig()
  """What is written down."""
  mesh: sharding.MeshConfig = sharding.MeshConfig()
  """Devices along each axis."""

  def __post_init__(self):
    _require(self, "", 0, "steps")
    if not 0 <= self.seed < 2**32:
      raise ValueError(f"seed={self.seed}: must be in 0 to 2**32 - 1")


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A model from a local Hugging Face directory."""

  path: str
  """Directory with config.json, safetensors and a tokeniser."""
  dtype: Literal["float32", "bfloat16"] = "bfloat16"
  """Of the computation; the masters are float32."""
  remat: Literal["none", "block"] = "block"
  """What is kept for the backward pass."""
