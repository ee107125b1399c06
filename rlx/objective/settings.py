"""Hyper-parameters that many methods share, for one argument each."""

import dataclasses
from typing import Literal

from rlx import ranges
from rlx.objective import reductions


@dataclasses.dataclass(frozen=True)
class Clip:
  """How far the ratio may move.

  Attributes:
    epsilon_low: the ratio is clipped below 1 - epsilon_low,
    epsilon_high: and above 1 + epsilon_high.
    dual_clip: bound of the loss where the advantage is negative, as a multiple
      of it; 3 is usual. None for no bound.
    ratio_level: whether each token, step or sequence has a ratio.
  """

  epsilon_low: float = 0.2
  epsilon_high: float = 0.2
  dual_clip: float | None = None
  ratio_level: Literal["token", "step", "sequence"] = "token"

  def __post_init__(self):
    ranges.between(0, 1, epsilon_low=self.epsilon_low)
    # Infinity is no upper end.
    ranges.between(0, float("inf"), epsilon_high=self.epsilon_high)
    ranges.above(1, dual_clip=self.dual_clip)


@dataclasses.dataclass(frozen=True)
class Terms:
  """What stands beside the surrogate, and how tokens are reduced.

  Attributes:
    reduction: how losses per token become one number.
    reduction_length: the constant of "seq-mean-token-sum-norm".
    kl_coef: weight of the divergence from the reference; 0 needs no reference.
    kl_gradient: which estimator is differentiated, see `divergences.kl_loss`.
    kl_off_policy: weigh the divergence by the ratio, for tokens that an older
      policy sampled.
    entropy_coef: weight of the entropy bonus.
    importance_cap: bound of the truncated importance weights that correct the
      sampler's mismatch; None for no such weights.
    importance_level: whether each token or each sequence has such a weight.
    rejection: which estimate of the mismatch decides what is left out of the
      surrogate, see `filters.accepted`; "none" leaves nothing out.
    rejection_bound: how much is accepted: for k1 a ratio, and its inverse.
    rejection_level: whether tokens or sequences are left out.
  """

  reduction: reductions.Reduction = "token-mean"
  reduction_length: int | None = None
  kl_coef: float = 0.0
  kl_gradient: Literal["k1", "k2", "k3", "k3+"] = "k3"
  kl_off_policy: bool = False
  entropy_coef: float = 0.0
  importance_cap: float | None = None
  importance_level: Literal["token", "sequence"] = "token"
  rejection: Literal["none", "k1", "k2", "k3"] = "none"
  rejection_bound: float = 2.0
  rejection_level: Literal["token", "sequence"] = "token"

  def __post_init__(self):
    ranges.at_least(0, kl_coef=self.kl_coef)
    ranges.finite(entropy_coef=self.entropy_coef)
    ranges.above(0, importance_cap=self.importance_cap)
    ranges.at_least(1, reduction_length=self.reduction_length)
    norm = reductions.canonical(self.reduction) == "seq-mean-token-sum-norm"
    if norm and not (self.reduction_length or 0) > 0:
      raise ValueError(
        f"reduction={self.reduction!r} needs a reduction_length, as the longest"
        f" answer allowed; it is {self.reduction_length}"
      )
    least = 1.0 if self.rejection == "k1" else 0.0
    if not self.rejection_bound > least:
      raise ValueError(
        f"rejection_bound={self.rejection_bound} must be above {least} with"
        f" rejection={self.rejection!r}"
      )


@dataclasses.dataclass(frozen=True)
class ValueTerm:
  """The loss of a value function beside the policy's.

  Attributes:
    coef: its weight.
    clip: half-width of the range around the old values; None for no clip.
  """

  coef: float = 0.5
  clip: float | None = 0.5

  def __post_init__(self):
    ranges.at_least(0, coef=self.coef)
    ranges.above(0, clip=self.clip)
