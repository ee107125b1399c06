"""Rotary position embedding: frequencies, their scaling, the rotation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rlx.models import config as config_lib
from rlx.models import linear


def frequencies(
  config: config_lib.DecoderConfig,
) -> tuple[np.ndarray, float]:
  """Radians per position of each pair of dimensions, and attention's factor.

  Computed on the host in float64, kept as float32. The factor multiplies cosine
  and sine, and is 1 but for yarn.

  Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2; the scalings as in
  Hugging Face's `modeling_rope_utils`.
  """
  exponent = np.arange(0, config.head_dim, 2) / config.head_dim
  plain = config.rope_theta**-exponent
  scaling = config.rope_scaling
  if scaling is None:
    return plain.astype(np.float32), 1.0
  if scaling.kind == "linear":
    return (plain / scaling.factor).astype(np.float32), 1.0
  if scaling.kind == "llama3":
    return _llama3(plain, scaling).astype(np.float32), 1.0
  scaled = _yarn(plain, scaling, config)
  return scaled.astype(np.float32), _yarn_attention_factor(scaling)


def _llama3(plain: np.ndarray, scaling: config_lib.RopeScaling) -> np.ndarray:
  """Long wavelengths stretched, short ones kept, a linear blend between."""
  turns = (scaling.original_max_positions or 0) * plain / (2 * math.pi)
  low, high = scaling.low_freq_factor, scaling.high_freq_factor
  keep = np.clip((turns - low) / (high - low), 0.0, 1.0)
  return keep * plain + (1 - keep) * plain / scaling.factor


def _yarn(
  plain: np.ndarray,
  scaling: config_lib.RopeScaling,
  config: config_lib.DecoderConfig,
) -> np.ndarray:
  """Blend by dimension, between those that turn beta_fast and beta_slow times."""

  def dimension(turns: float) -> float:
    length = scaling.original_max_positions or 0
    ratio = math.log(length / (turns * 2 * math.pi))
    return config.head_dim * ratio / (2 * math.log(config.rope_theta))

  low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
  if scaling.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, config.head_dim - 1)
  high += 0.001 if low == high else 0  # As in Hugging Face: no division by 0.
  stretch = np.clip((np.arange(len(plain)) - low) / (high - low), 0.0, 1.0)
  return stretch * plain / scaling.factor + (1 - stretch) * plain


def _yarn_attention_factor(scaling: config_lib.RopeScaling) -> float:
  def mscale(weight: float = 1.0) -> float:
    return 0.1 * weight * math.log(scaling.factor) + 1.0

  if scaling.attention_factor is not None:
    return scaling.attention_factor
  if scaling.mscale and scaling.mscale_all_dim:
    return mscale(scaling.mscale) / mscale(scaling.mscale_all_dim)
  return mscale()


def tables(
  positions: Int[Array, "B L"], config: config_lib.DecoderConfig
) -> tuple[Float[Array, "B L h"], Float[Array, "B L h"]]:
  """Cosine and sine of each position's angles, in float32."""
  per_position, factor = frequencies(config)
  angles = positions[..., None].astype(jnp.float32) * per_position[None, None]
  both = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1) * factor
  both = jax.lax.platform_dependent(both, cpu=_once, default=lambda x: x)
  cos, sin = jnp.split(both, 2, axis=-1)
  return cos, sin


def _once(x: Float[Array, "B L H"]) -> Float[Array, "B L H"]:
  """x, bit for bit, by a product with the identity.

  On a CPU, XLA computes cosines again in each rotation, for each head, and drops
  a barrier before it fuses; what a product gives, it keeps.
  """
  return linear.dot(x, jnp.eye(x.shape[-1]), (2,), (0,))


def rotate(
  x: Float[Array, "B L *N H"],
  cos: Float[Array, "B L h"],
  sin: Float[Array, "B L h"],
) -> Float[Array, "B L *N H"]:
  """Rotates pairs (i, i + H/2) of the last axis; float32 inside, x's dtype out."""
  middle = tuple(range(2, x.ndim - 1))
  cos, sin = jnp.expand_dims(cos, middle), jnp.expand_dims(sin, middle)
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  rotated = (first * cos - second * sin, second * cos + first * sin)
  return jax.lax.concatenate(rotated, x.ndim - 1).astype(x.dtype)
