"""The optimiser: AdamW with a schedule and a clip of the whole gradient."""

import dataclasses
from typing import Literal

import optax


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW on float32 masters."""

  learning_rate: float = 1e-6
  """Peak step size."""
  warmup_steps: int = 0
  """Updates of linear warm-up from 0."""
  decay: Literal["constant", "linear", "cosine"] = "constant"
  """Shape after the warm-up."""
  decay_steps: int = 0
  """Updates over which it decays, warm-up included. Not tied to the length of
  the run, so that a run cut short follows the same schedule."""
  final_fraction: float = 0.0
  """Learning rate after the decay, as a fraction of the peak."""
  b1: float = 0.9
  """Decay of the gradient's mean."""
  b2: float = 0.999
  """Decay of the gradient's square."""
  eps: float = 1e-8
  """Added to the root of the gradient's square."""
  weight_decay: float = 0.0
  """Decoupled weight decay."""
  max_grad_norm: float = 1.0
  """The whole gradient is scaled down to this norm; 0 turns that off."""

  def __post_init__(self):
    for name in ("learning_rate", "eps"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name}={getattr(self, name)}: must be positive")
    for name in ("b1", "b2"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)}: must be in [0, 1)")
    for name in ("warmup_steps", "weight_decay", "max_grad_norm"):
      if not getattr(self, name) >= 0:
        raise ValueError(f"{name}={getattr(self, name)}: must be 0 or more")
    if self.decay != "constant" and self.decay_steps <= self.warmup_steps:
      raise ValueError(
        f"decay={self.decay} needs decay_steps > warmup_steps, not "
        f"{self.decay_steps} and {self.warmup_steps}"
      )


def schedule(config: OptimizerConfig) -> optax.Schedule:
  """Returns learning rate as a function of the number of updates done."""
  peak = config.learning_rate
  after = max(config.decay_steps - config.warmup_steps, 1)
  if config.decay == "constant":
    main = optax.constant_schedule(peak)
  elif config.decay == "linear":
    main = optax.linear_schedule(peak, peak * config.final_fraction, after)
  else:
    main = optax.cosine_decay_schedule(peak, after, config.final_fraction)
  if not config.warmup_steps:
    return main
  warm = optax.linear_schedule(0.0, peak, config.warmup_steps)
  return optax.join_schedules([warm, main], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
  """Returns the optimiser; its state is float32 like the masters."""
  adamw = optax.adamw(
    schedule(config),
    b1=config.b1,
    b2=config.b2,
    eps=config.eps,
    weight_decay=config.weight_decay,
  )
  if not config.max_grad_norm:
    return adamw
  return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adamw)
