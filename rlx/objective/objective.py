"""Objective: per-token losses put together, with one reduction."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rlx import metrics, pytree
from rlx.objective import (
  divergences,
  filters,
  importance,
  ratios,
  reductions,
  settings,
  surrogates,
  values,
)

Metrics = dict[str, Any]  # Of Mean, Max, and plain sums: `metrics.add`.


@pytree.dataclass
class TokenInputs:
  """What the loss of a micro-batch is made of, aligned to its tokens.

  Entry t describes token t. Where `mask` is False nothing is read.
  """

  log_probs: Float[Array, "B L"]  # Of the policy in training.
  entropy: Float[Array, "B L"]  # Of the distribution the token was drawn from.
  advantages: Float[Array, "B L"]
  mask: Bool[Array, "B L"]
  weights: Float[Array, "B L"]  # Of `Objective.weights`, over the whole batch.
  segment: Int[Array, "B L"]
  # The trainer's log-probabilities before the first update on this batch. None
  # means that this is the first: the ratio is then exactly 1.
  old_log_probs: Float[Array, "B L"] | None = None
  # What the sampler reported. None: nothing is known of a mismatch.
  sampler_log_probs: Float[Array, "B L"] | None = None
  ref_log_probs: Float[Array, "B L"] | None = None
  values: Float[Array, "B L"] | None = None
  old_values: Float[Array, "B L"] | None = None
  returns: Float[Array, "B L"] | None = None


class Objective(NamedTuple):
  """A loss, and the weights of the tokens in it.

  Attributes:
    loss: `(TokenInputs) -> (loss, metrics)`: the micro-batch's share of the
      loss, to be differentiated and summed over micro-batches, and metrics
      that add by `metrics.add`.
    weights: `(mask[B L], sequence[B] | None) -> float[B L]`, computed over the
      whole batch; see `reductions.weights`.
    needs_reference: whether `ref_log_probs` must be given.
    needs_value: whether `values`, `old_values` and `returns` must be given.
  """

  loss: Callable[[TokenInputs], tuple[Float[Array, ""], Metrics]]
  weights: Callable[..., Float[Array, "B L"]]
  needs_reference: bool = False
  needs_value: bool = False


def make(
  surrogate: surrogates.Surrogate,
  terms: settings.Terms,
  *,
  clip: settings.Clip | None = None,
  value: settings.ValueTerm | None = None,
  keep: filters.Filter | None = None,
) -> Objective:
  """An objective from any surrogate.

      loss = sum of weights * (kept * importance * surrogate + kl_coef * KL
                               - entropy_coef * entropy + value term)

  Args:
    clip: tells the ratio level, and the range whose crossings are counted in
      the metrics.
    keep: leaves tokens out of the surrogate, beside what `terms` reject. They
      stay in the denominators and in the other terms.
  """
  level = clip.ratio_level if clip else "token"

  def loss(inputs: TokenInputs):
    mask, new = inputs.mask, inputs.log_probs
    _check(inputs, terms, value, keep)
    old = inputs.old_log_probs
    old = jax.lax.stop_gradient(new) if old is None else old
    ratio = ratios.log_ratio(
      new, old, mask, level=level, segment=inputs.segment
    )
    token = surrogate(ratio, new, inputs.advantages, mask)
    measured = _measure(inputs, old, ratio, clip)
    corrections, more = _correct(inputs, old, terms, keep)
    for weight in corrections:
      token = weight * token
    parts = {"loss/policy": token} | _beside(inputs, terms, value, ratio)
    sums = {
      name: jnp.sum(jnp.where(mask, inputs.weights * part, 0.0))
      for name, part in parts.items()
    }
    total = sum(sums.values(), jnp.zeros(()))
    return total, measured | more | jax.lax.stop_gradient(
      sums | {"loss": total}
    )

  return Objective(
    loss=loss,
    weights=functools.partial(_weights, terms),
    needs_reference=terms.kl_coef != 0,
    needs_value=value is not None,
  )


def _weights(
  terms: settings.Terms,
  mask: Bool[Array, "B L"],
  sequence: Int[Array, " B"] | None = None,
) -> Float[Array, "B L"]:
  return reductions.weights(
    mask, terms.reduction, length=terms.reduction_length, sequence=sequence
  )


def _correct(inputs, old, terms, keep):
  """Constants to multiply the surrogate with, for the sampler's mismatch."""
  mask, weights, found = inputs.mask, [], {}
  pair = (old, inputs.sampler_log_probs, mask)
  if terms.importance_cap is not None:
    weight = importance.truncated(
      *pair, cap=terms.importance_cap, level=terms.importance_level
    )
    found["importance/mean"] = metrics.mean(weight, mask)
    weights.append(weight)
  kept = [] if keep is None else [keep(*pair)]
  if terms.rejection != "none":
    kept.append(
      filters.accepted(
        *pair,
        estimator=terms.rejection,
        bound=terms.rejection_bound,
        level=terms.rejection_level,
      )
    )
  weights += [x.astype(jnp.float32) for x in kept]
  if kept:
    both = functools.reduce(jnp.logical_and, kept).astype(jnp.float32)
    found["importance/kept"] = metrics.mean(both, mask)
  return weights, found


def _beside(inputs, terms, value, ratio) -> dict[str, Float[Array, "B L"]]:
  """The terms beside the surrogate, per token, times their coefficients."""
  mask, parts = inputs.mask, {}
  if terms.kl_coef:
    kl = divergences.kl_loss(
      inputs.log_probs, inputs.ref_log_probs, mask, terms.kl_gradient
    )
    if terms.kl_off_policy:
      kl = jax.lax.stop_gradient(jnp.exp(ratio)) * kl
    parts["loss/kl"] = terms.kl_coef * kl
  if terms.entropy_coef:
    entropy = jnp.where(mask, inputs.entropy, 0.0)
    parts["loss/entropy"] = -terms.entropy_coef * entropy
  if value is not None:
    parts["loss/value"] = value.coef * values.value_loss(
      inputs.values, inputs.old_values, inputs.returns, mask, clip=value.clip
    )
  return parts


def _measure(inputs, old, ratio, clip) -> Metrics:
  """What is logged about the tokens that the policy chose."""
  inputs, old, ratio = jax.lax.stop_gradient((inputs, old, ratio))
  mask, new = inputs.mask, inputs.log_probs
  mean = lambda x: metrics.mean(x, mask)
  out = {
    "entropy": mean(inputs.entropy),
    "ppo_kl": mean(divergences.kl(old, new, mask, "k1")),
    "ratio/mean": mean(jnp.exp(ratio)),
    "ratio/max": metrics.maximum(jnp.exp(ratio), mask),
  }
  if clip is not None:
    out |= _clip_ratios(jnp.exp(ratio), inputs.advantages, mask, clip)
  if inputs.ref_log_probs is not None:
    out["kl"] = mean(divergences.kl(new, inputs.ref_log_probs, mask))
  if inputs.sampler_log_probs is not None:
    # The sampler's tokens estimate KL(sampler || trainer).
    gap = divergences.kl(inputs.sampler_log_probs, old, mask)
    out["mismatch_kl/mean"] = mean(gap)
    out["mismatch_kl/max"] = metrics.maximum(gap, mask)
    # In nats: what is too small for a divergence to show.
    apart = jnp.abs(inputs.sampler_log_probs - old)
    out["mismatch/log_prob_max"] = metrics.maximum(apart, mask)
  if inputs.values is not None:
    out["value/mean"] = mean(inputs.values)
  return out


def _clip_ratios(ratio, advantages, mask, clip) -> Metrics:
  """Fractions of tokens whose gradient the clip has stopped, as TRL's."""
  low = (ratio < 1 - clip.epsilon_low) & (advantages < 0)
  high = (ratio > 1 + clip.epsilon_high) & (advantages > 0)
  mean = lambda x: metrics.mean(x.astype(jnp.float32), mask)
  out = {
    "clip_ratio/low_mean": mean(low),
    "clip_ratio/high_mean": mean(high),
    "clip_ratio/region_mean": mean(low | high),
  }
  if clip.dual_clip is not None:
    out["clip_ratio/dual_mean"] = mean(
      (ratio > clip.dual_clip) & (advantages < 0)
    )
  return out


def _check(
  inputs: TokenInputs,
  terms: settings.Terms,
  value: settings.ValueTerm | None,
  keep: filters.Filter | None,
) -> None:
  """Raises a ValueError that names what is missing and why it is needed."""
  cap, rejection = terms.importance_cap, terms.rejection
  needed: list[tuple[bool, str, str]] = [
    (terms.kl_coef != 0, "ref_log_probs", f"kl_coef={terms.kl_coef}"),
    (cap is not None, "sampler_log_probs", f"importance_cap={cap}"),
    (rejection != "none", "sampler_log_probs", f"rejection={rejection!r}"),
    (keep is not None, "sampler_log_probs", "the filter of tokens"),
    *((value is not None, x, "the value loss") for x in _VALUE_INPUTS),
  ]
  for condition, name, why in needed:
    if condition and getattr(inputs, name) is None:
      raise ValueError(f"{why} needs {name}, which are missing")


_VALUE_INPUTS = ("values", "old_values", "returns")
