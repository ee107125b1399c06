"""How much is sampled, and how."""

import dataclasses
from typing import Literal

from rlx.rollout import sampling as samplings


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
  """How much is sampled in a step, and how long it may be."""

  num_prompts: int = 8
  """Prompts, or starts of an environment, in a step."""
  group_size: int = 8
  """Completions or episodes of each prompt."""
  max_prompt_length: int = 512
  """Tokens of a prompt, or of an environment's first observation."""
  max_turn_length: int = 64
  """Tokens an environment may say between two turns of the policy."""
  max_completion_length: int = 512
  """Tokens of a completion, or of one turn of an agent."""
  long_prompts: Literal["error", "drop", "truncate_left"] = "error"
  """What happens to prompts that are longer."""
  sampling: samplings.Sampling = samplings.Sampling()
  """How tokens are drawn."""
  filter_groups: bool = False
  """Leave out groups whose members all have the same outcome, and sample others
  in their place."""
  max_refills: int = 3
  """Further rollouts that `filter_groups` may spend on a step."""
  mask_truncated: bool = False
  """Keep what ran into a length limit out of the loss. It still counts in the
  baseline and in the length metrics."""

  def __post_init__(self):
    for name in (
      *("num_prompts", "group_size", "max_prompt_length"),
      *("max_turn_length", "max_completion_length"),
    ):
      if getattr(self, name) < 1:
        raise ValueError(
          f"rollout.{name}={getattr(self, name)}: must be 1 or more"
        )
    if self.max_refills < 0:
      raise ValueError(
        f"rollout.max_refills={self.max_refills}: must be 0 or more"
      )
