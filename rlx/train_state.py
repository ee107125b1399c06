"""What a run carries from one batch to the next, and how batches are used."""

import dataclasses
from typing import Any, Literal

from jaxtyping import Array, Float, Int, UInt

from rlx import pytree


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
  """How a batch is turned into updates."""

  num_iterations: int = 1
  """Passes over a batch."""
  num_minibatches: int = 1
  """Disjoint parts of a batch, one update each; a trajectory is never split."""
  microbatch_tokens: int | None = None
  """Tokens that go through the model at once, at most, but for a row; 0 for the
  whole batch. None is 2,048, as many as a CPU's caches hold (accelerators want
  more), but for a group that shares a prompt, which goes together up to 16,384;
  a limit that is given holds for groups too, and bounds memory: the prompt is
  then computed once for as many rows as fit into it."""
  share_prefixes: bool = True
  """Compute once, forwards and backwards, what rows of a batch begin with alike
  and `microbatch_tokens` has room for: prompts of groups, paths of trees; and
  put short rows together. What is learnt
  is the same. Recipes with a value function, and policies that take no packs,
  are given rows as they are."""
  logit_tokens: int = 4096
  """Tokens whose logits exist at once."""
  max_skipped: int = 5
  """Updates in a row that may be skipped because they were not finite."""
  old_log_probs: Literal["trainer", "sampler"] = "trainer"
  """Who says what the policy was when it sampled: a forward pass of the trainer
  before the first update, or the sampler's own record."""

  def __post_init__(self):
    for name in (
      "num_iterations",
      "num_minibatches",
      "logit_tokens",
      "max_skipped",
    ):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)}: must be 1 or more")
    if self.microbatch_tokens is not None and self.microbatch_tokens < 0:
      raise ValueError(
        f"microbatch_tokens={self.microbatch_tokens}: must be 0 (all) or more"
      )

  @property
  def limits(self) -> tuple[int, int]:
    """Tokens that go through the model at once; and of one group, at least."""
    if self.microbatch_tokens is None:
      return 2048, 16_384
    return self.microbatch_tokens, self.microbatch_tokens


@pytree.dataclass
class TrainState:
  """Everything that outlives a batch: arrays only, so that it can be donated,
  sharded, saved and compared bit for bit."""

  step: Int[Array, ""]  # Batches learnt from.
  params: Any  # {"policy": ..., and "value": ... where the recipe has one}
  opt_state: Any
  credit: Any
  evidence: Any  # Of the recipe's providers: second learners and the like.
  memory: Any  # Of the recipe's plan: what rollouts remember.
  key: UInt[Array, " K"]  # Of the run; only ever folded.
  cursor: Int[Array, ""]  # Prompts drawn.
  skipped: Int[Array, ""]  # Updates in a row that were not finite.
  best: Float[Array, ""]  # Best evaluation so far.
