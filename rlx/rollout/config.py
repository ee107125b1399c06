"""How much is sampled, and how."""

import dataclasses
from typing import Literal

from rlx import ranges
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
  slots: int = 0
  """Completions that are written at once: as one ends, the next of the batch takes
  its place. 0 for all of the batch at once. The samples are the same; slots are
  for batches whose lengths differ, or whose cache would not fit into memory.
  Recipes that go on from the middle of what was sampled write all at once. On a
  mesh every device gathers all parameters, and serves its part of the slots; the
  samples of a group do not share their prompt there, but each copy it."""
  check_every: int = 1
  """Tokens between two looks for a free slot. On a CPU it makes no difference;
  accelerators want 8."""
  prefill_tokens: int = 8192
  """Tokens of prompts that a device computes at once. The rest waits for them, so
  that this bounds the memory; nothing else changes."""
  filter_groups: bool = False
  """Leave out groups whose members all have the same outcome, and sample others
  in their place."""
  max_refills: int = 3
  """Further rollouts that `filter_groups` may spend on a step."""
  mask_truncated: bool = False
  """Keep what ran into a length limit out of the loss. It still counts in the
  baseline and in the length metrics."""
  page_size: int = 16
  """Tokens of a page, in which what was read is kept for recipes that go on from
  the middle of what was sampled."""
  kv_pages: int = 0
  """How many of them there are; 0 for as many as what is kept needs, but for
  doubling, and at the most what the samples of a step need. With fewer some is
  read again, and nothing else changes."""
  on_device: Literal["auto", "always", "never"] = "auto"
  """Whether episodes are played inside the compiled program, with the policy.
  "auto" does so where the task has that form and the tokeniser can speak it, and
  the recipe only samples: what is sampled is the same, and sooner there."""
  environment_pool: Literal["threads", "processes", "none"] = "threads"
  """What makes the calls of environments, several at once while others decode.
  Threads suit tools, servers and light environments; their episodes must not
  share state that is not safe for threads. Processes suit heavy or untrusted
  ones; tasks and snapshots must be picklable. With none, calls are made one
  after the other, and without a deadline."""
  environment_workers: int = 0
  """Calls made at once; 0 for 32 threads, or for a process a core. Episodes that
  share a process with one that hangs are lost with it."""
  environment_seconds: float = 60.0
  """Deadline of a call; the first of a process, which starts then, has a minute
  more. An episode whose environment has not answered by then is out of the loss
  and every statistic, and counted in `stop/rollout_timeout`."""
  rewriting_templates: Literal["error", "segment"] = "error"
  """What happens where the chat template changes earlier turns when one is added,
  as those do that take out past reasoning. With "segment", what the template then
  says begins a new sequence of the same episode."""

  def __post_init__(self):
    fields = lambda *names: {f"rollout.{x}": getattr(self, x) for x in names}
    ranges.at_least(
      1,
      **fields("num_prompts", "group_size", "max_prompt_length"),
      **fields("max_turn_length", "max_completion_length", "page_size"),
      **fields("check_every", "prefill_tokens"),
    )
    ranges.at_least(
      0, **fields("environment_workers", "kv_pages", "max_refills")
    )
    if not self.environment_seconds > 0:
      raise ValueError(
        f"rollout.environment_seconds={self.environment_seconds}: must be more "
        "than 0"
      )
    if self.slots < 0:
      raise ValueError(
        f"rollout.slots={self.slots}: must be 0 (the whole batch) or more"
      )
