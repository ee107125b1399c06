"""The shape of a decoder: one frozen dataclass for Llama, Qwen2 and Qwen3."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """How rotary frequencies are stretched beyond the pretraining length.

  Fields have the names and the meaning of Hugging Face's `rope_scaling`; those
  that a kind does not use are ignored.

  Attributes:
    kind: `linear` divides every frequency by `factor`. `llama3` divides only
      wavelengths longer than `original_max_positions / low_freq_factor`, keeps
      those shorter than `original_max_positions / high_freq_factor`, and blends
      between. `yarn` blends by the number of rotations between `beta_fast` and
      `beta_slow`, and scales attention (Peng et al. 2023, arXiv:2309.00071).
    factor: Stretch, at least 1.
    original_max_positions: Pretraining length (llama3, yarn).
    attention_factor: Multiplies cosine and sine (yarn). None: derived from
      `mscale` and `mscale_all_dim` where both are given, else from `factor`.
    truncate: Round the blended range outwards to whole dimensions (yarn).

  Raises:
    ValueError: A field has a value that its kind cannot use.
  """

  kind: Literal["linear", "llama3", "yarn"]
  factor: float
  original_max_positions: int | None = None
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  mscale: float | None = None
  mscale_all_dim: float | None = None
  attention_factor: float | None = None
  truncate: bool = True

  def __post_init__(self) -> None:
    if self.kind not in ("linear", "llama3", "yarn"):
      raise ValueError(
        f"rope_scaling.kind is {self.kind!r}; valid: linear, llama3, yarn"
      )
    if self.factor < 1:
      raise ValueError(f"rope_scaling.factor is {self.factor}; valid: >= 1")
    if self.kind != "linear" and not self.original_max_positions:
      raise ValueError(
        f"rope_scaling.original_max_positions is {self.original_max_positions};"
        f" {self.kind} needs the pretraining length, a positive integer"
      )
    if self.kind == "llama3" and self.high_freq_factor <= self.low_freq_factor:
      raise ValueError(
        f"rope_scaling.high_freq_factor is {self.high_freq_factor}; valid:"
        f" above low_freq_factor, {self.low_freq_factor}"
      )
    if self.kind == "yarn" and self.beta_fast < self.beta_slow:
      raise ValueError(
        f"rope_scaling.beta_fast is {self.beta_fast}; valid: at least"
        f" beta_slow, {self.beta_slow}"
      )


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """A pre-norm decoder with RMSNorm, RoPE, grouped queries and SwiGLU.

  Attributes:
    vocab_size: Rows of the embedding.
    embed_dim: Width of the residual stream.
    num_heads: Query heads; a multiple of `num_kv_heads`.
    head_dim: Even; need not be `embed_dim / num_heads`.
    mlp_dim: Width of the gated hidden layer.
    rope_theta: Base of the rotary wavelengths.
    norm_eps: Added to the mean square.
    tied_embeddings: The embedding is also the output head.
    qkv_bias: Bias of the query, key and value projections (Qwen2).
    qk_norm: RMSNorm over `head_dim` of queries and keys (Qwen3).
    max_positions: The length that the model was made for; not a limit of the
      computation.
    dtype: Of the computation. Parameters are float32 masters, norms, softmax
      and logits are float32 whatever it is.
    remat: `block` keeps only the input of each layer for the backward pass.
    layers: `scan` keeps one stack of all layers' parameters and compiles one
      layer; `unroll` keeps the layers' parameters apart, which compiles longer
      and runs faster on a CPU.
    init_std: Standard deviation of the initial weights; output projections have
      it divided by `sqrt(2 * num_layers)`.

  Raises:
    ValueError: A field has an impossible value; the message names it.
  """

  vocab_size: int
  embed_dim: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_dim: int
  rope_theta: float = 10_000.0
  rope_scaling: RopeScaling | None = None
  norm_eps: float = 1e-6
  tied_embeddings: bool = False
  qkv_bias: bool = False
  qk_norm: bool = False
  max_positions: int = 2048
  dtype: Literal["float32", "bfloat16"] = "float32"
  remat: Literal["none", "block"] = "none"
  layers: Literal["scan", "unroll"] = "scan"
  init_std: float = 0.02

  def __post_init__(self) -> None:
    for name in (
      *("vocab_size", "embed_dim", "num_layers", "num_heads", "num_kv_heads"),
      *("head_dim", "mlp_dim", "rope_theta", "norm_eps", "max_positions"),
      "init_std",
    ):
      if getattr(self, name) <= 0:
        raise ValueError(f"{name} is {getattr(self, name)}; valid: positive")
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"num_heads is {self.num_heads}; valid: a multiple of num_kv_heads,"
        f" {self.num_kv_heads}"
      )
    if self.head_dim % 2:
      raise ValueError(f"head_dim is {self.head_dim}; valid: an even number")
    for name, valid in (
      ("dtype", ("float32", "bfloat16")),
      ("remat", ("none", "block")),
      ("layers", ("scan", "unroll")),
    ):
      if getattr(self, name) not in valid:
        raise ValueError(
          f"{name} is {getattr(self, name)!r}; valid: {', '.join(valid)}"
        )

  @property
  def queries_per_kv(self) -> int:
    """Query heads that share one key and value head."""
    return self.num_heads // self.num_kv_heads
