"""From logits to one token, with the log-probabilities that training needs."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rlx.rollout import noise as noises


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a token is drawn. The defaults draw from the policy itself."""

  temperature: float = 1.0
  """Divides the logits; 0 is greedy."""
  top_k: int = 0
  """Keeps the k likeliest tokens; 0 keeps all."""
  top_p: float = 1.0
  """Keeps the likeliest tokens until their mass reaches p; 1 keeps all."""
  min_p: float = 0.0
  """Keeps tokens at least min_p times as likely as the likeliest."""

  def __post_init__(self):
    if not self.temperature >= 0:
      raise ValueError(f"temperature={self.temperature}: must be 0 or more")
    if self.top_k < 0:
      raise ValueError(f"top_k={self.top_k}: must be 0 (all tokens) or more")
    if not 0 < self.top_p <= 1:
      raise ValueError(f"top_p={self.top_p}: must be in (0, 1]")
    if not 0 <= self.min_p <= 1:
      raise ValueError(f"min_p={self.min_p}: must be in [0, 1]")


class Drawn(NamedTuple):
  """One token a row."""

  token: Int[Array, " N"]
  log_prob: Float[Array, " N"]
  raw_log_prob: Float[Array, " N"]


def row_keys(
  key: Key[Array, ""], prompt: Int[Array, " N"], sample: Int[Array, " N"]
) -> Key[Array, " N"]:
  """Returns one key a row: `fold_in(fold_in(key, prompt), sample)`.

  Counter-based: a row's draws depend on which sample of which prompt it is, and
  not on its slot in a batch, the mesh or the order of arrival.
  """
  keys = jnp.broadcast_to(key, prompt.shape)
  return noises.fold_in(noises.fold_in(keys, prompt), sample)


def support(
  logits: Float[Array, "N V"], sampling: Sampling
) -> Bool[Array, "N V"] | None:
  """Returns which tokens may be drawn; None where all may.

  `logits` are scaled by the temperature already. The likeliest token is always
  kept. Filters are applied in the order top-k, top-p, min-p; top-p counts its
  mass in what top-k left, renormalised, as the common samplers do. Tokens tied
  with the last one kept are kept too.
  """
  if sampling.top_k == 0 and sampling.top_p == 1 and sampling.min_p == 0:
    return None
  keep = jnp.ones(logits.shape, bool)
  if 0 < sampling.top_k < logits.shape[-1]:
    least = jax.lax.top_k(logits, sampling.top_k)[0][:, -1:]
    keep = logits >= least
  if sampling.top_p < 1:
    kept = jnp.where(keep, logits, -jnp.inf)
    ordered = jnp.flip(jnp.sort(kept, axis=-1), axis=-1)
    probs = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    inside = jnp.where(before < sampling.top_p, ordered, jnp.inf)
    keep &= logits >= jnp.min(inside, axis=-1, keepdims=True)
  if sampling.min_p > 0:
    best = jnp.max(logits, axis=-1, keepdims=True)
    keep &= logits >= best + jnp.log(sampling.min_p)
  return keep


def draw(
  logits: Float[Array, "N V"],
  keys: Key[Array, " N"],
  position: Int[Array, " N"],
  sampling: Sampling,
) -> Drawn:
  """Returns one token a row and its log-probabilities in nats.

  `log_prob` is under exactly the distribution that sampled (temperature, and
  support renormalised); `raw_log_prob` has the temperature but the whole
  vocabulary, which is what a trainer recomputes. Greedy (temperature 0) is a
  point mass: `log_prob` is 0, and `raw_log_prob` is at temperature 1.

  Gumbel's arg-max, so that a token outside the support is never drawn, and the
  draw is the same however the vocabulary is split over devices.
  """
  logits = logits.astype(jnp.float32)
  if sampling.temperature == 0:
    token = _argmax(logits)
    raw = _log_prob(logits, token)
    return Drawn(token, jnp.zeros_like(raw), raw)
  logits = logits / sampling.temperature
  noise = noises.gumbel(noises.fold_in(keys, position), logits.shape[-1])
  keep = support(logits, sampling)
  kept = logits if keep is None else jnp.where(keep, logits, -jnp.inf)
  token = _argmax(kept + noise)
  raw = _log_prob(logits, token)
  return Drawn(token, raw if keep is None else _log_prob(kept, token), raw)


def _log_prob(
  logits: Float[Array, "N V"], token: Int[Array, " N"]
) -> Float[Array, " N"]:
  picked = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
  return picked - jax.nn.logsumexp(logits, axis=-1)


def _argmax(scores: Float[Array, "N V"]) -> Int[Array, " N"]:
  """`jnp.argmax` over the last axis, of numbers that are no NaN.

  XLA does not vectorise the reduction of pairs on a CPU; these it does.
  """
  last = scores.shape[-1] - 1
  best = jnp.max(scores, axis=-1, keepdims=True)
  index = jnp.arange(last + 1, dtype=jnp.int32)[None]
  return jnp.min(jnp.where(scores == best, index, last), axis=-1)
