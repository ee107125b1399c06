"""Provider: a second learner, or any other reader of the batch, as a pair."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from rlx import batch, policy

State = Any  # A pytree of arrays; () where there is none.


class Context(NamedTuple):
  """What the learner knows before there is a batch, all of it static.

  Attributes:
    model: the policy's pure functions.
    temperature: of the sampler; log-probabilities are computed under it.
    microbatch_tokens: about how many tokens may go through the model at once.
    logit_tokens: tokens whose logits exist at once.
  """

  model: policy.Policy
  temperature: float = 1.0
  microbatch_tokens: int = 2048
  logit_tokens: int = 4096


class Seen(NamedTuple):
  """What a provider is shown of a batch, before credit is assigned.

  Attributes:
    params: of the policy that sampled the batch, a constant.
    rollout: the tokens.
    steps: the step table.
    old_log_probs: of the chosen tokens under `params`, by the trainer where
      `learner.old_log_probs` says so and it scores first, else by the sampler.
  """

  params: Any
  rollout: batch.Rollout
  steps: batch.Steps
  old_log_probs: Float[Array, "B L"]


class Provider(NamedTuple):
  """Fills columns of the step table, once a batch, inside of jit.

  Attributes:
    columns: names of the extras that it fills.
    init: `(key, policy params) -> state`. Leaves that copy the policy's
      parameters are sharded as those are; optimiser state likewise.
    update: `(state, Seen) -> (state, {name: float[S]}, metrics)`. A second
      learner takes its optimiser step here. Rows of weight 0 and tokens outside
      of the mask must be inert; metrics are those of `rlx.metrics`.
  """

  columns: tuple[str, ...]
  init: Callable[..., State]
  update: Callable[
    [State, Seen], tuple[State, dict[str, Float[Array, " S"]], dict[str, Any]]
  ]


Factory = Callable[[Context], Provider]
