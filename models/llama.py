"""The published dense sizes of Llama 2, 3, 3.1, 3.2 and 3.3.

Written from memory of each model's published `config.json`. Every parameter
count matches the published one (a test states the numbers), so widths, depths,
heads and tying are right with high confidence. What a count does not show
(`rope_theta`, `norm_eps`, rope scaling, `max_positions`) was compared with a
public copy of the file for 3.2 1B, and is of high confidence for the others.
`rlx.models.hf.load_config` reads the truth from a model's own directory.
"""

import dataclasses

from rlx.models import config

LLAMA_2_7B = config.DecoderConfig(
  vocab_size=32_000,
  embed_dim=4096,
  num_layers=32,
  num_heads=32,
  num_kv_heads=32,
  head_dim=128,
  mlp_dim=11_008,
  rope_theta=10_000.0,
  norm_eps=1e-5,
  max_positions=4096,
)
LLAMA_2_13B = dataclasses.replace(
  LLAMA_2_7B,
  embed_dim=5120,
  num_layers=40,
  num_heads=40,
  num_kv_heads=40,
  mlp_dim=13_824,
)
LLAMA_2_70B = dataclasses.replace(
  LLAMA_2_7B,
  embed_dim=8192,
  num_layers=80,
  num_heads=64,
  num_kv_heads=8,
  mlp_dim=28_672,
)

LLAMA_3_8B = config.DecoderConfig(
  vocab_size=128_256,
  embed_dim=4096,
  num_layers=32,
  num_heads=32,
  num_kv_heads=8,
  head_dim=128,
  mlp_dim=14_336,
  rope_theta=500_000.0,
  norm_eps=1e-5,
  max_positions=8192,
)
LLAMA_3_70B = dataclasses.replace(
  LLAMA_3_8B, embed_dim=8192, num_layers=80, num_heads=64, mlp_dim=28_672
)

_SCALING_3_1 = config.RopeScaling(
  kind="llama3",
  factor=8.0,
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  original_max_positions=8192,
)
LLAMA_3_1_8B = dataclasses.replace(
  LLAMA_3_8B, rope_scaling=_SCALING_3_1, max_positions=131_072
)
LLAMA_3_1_70B = dataclasses.replace(
  LLAMA_3_70B, rope_scaling=_SCALING_3_1, max_positions=131_072
)
LLAMA_3_1_405B = dataclasses.replace(
  LLAMA_3_1_8B,
  embed_dim=16_384,
  num_layers=126,
  num_heads=128,
  mlp_dim=53_248,
)

_SCALING_3_2 = dataclasses.replace(_SCALING_3_1, factor=32.0)
LLAMA_3_2_1B = dataclasses.replace(
  LLAMA_3_1_8B,
  embed_dim=2048,
  num_layers=16,
  head_dim=64,
  mlp_dim=8192,
  rope_scaling=_SCALING_3_2,
  tied_embeddings=True,
)
LLAMA_3_2_3B = dataclasses.replace(
  LLAMA_3_2_1B, embed_dim=3072, num_layers=28, num_heads=24, head_dim=128
)
LLAMA_3_3_70B = LLAMA_3_1_70B
