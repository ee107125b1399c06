"""The published dense sizes of Qwen2 and Qwen2.5.

Written from memory of each model's published `config.json`. Every parameter
count matches the published one (a test states the numbers), so widths, depths,
heads and tying are right with high confidence. `norm_eps` and `max_positions`
differ between base and instruct releases of one size; the values here are the
base models', compared with public copies of the files for Qwen2 0.5B and 72B
and Qwen2.5 0.5B, 14B and 72B, and of moderate confidence for the others.
`rlx.models.hf.load_config` reads the truth from a model's own directory.
"""

import dataclasses

from rlx.models import config

QWEN2_0P5B = config.DecoderConfig(
  vocab_size=151_936,
  embed_dim=896,
  num_layers=24,
  num_heads=14,
  num_kv_heads=2,
  head_dim=64,
  mlp_dim=4864,
  rope_theta=1_000_000.0,
  norm_eps=1e-6,
  tied_embeddings=True,
  qkv_bias=True,
  max_positions=131_072,
)
QWEN2_1P5B = dataclasses.replace(
  QWEN2_0P5B,
  embed_dim=1536,
  num_layers=28,
  num_heads=12,
  head_dim=128,
  mlp_dim=8960,
)
QWEN2_7B = dataclasses.replace(
  QWEN2_1P5B,
  vocab_size=152_064,
  embed_dim=3584,
  num_heads=28,
  num_kv_heads=4,
  mlp_dim=18_944,
  tied_embeddings=False,
)
QWEN2_72B = dataclasses.replace(
  QWEN2_7B,
  embed_dim=8192,
  num_layers=80,
  num_heads=64,
  num_kv_heads=8,
  mlp_dim=29_568,
  norm_eps=1e-5,
)

QWEN2P5_0P5B = dataclasses.replace(QWEN2_0P5B, max_positions=32_768)
QWEN2P5_1P5B = QWEN2_1P5B
QWEN2P5_3B = dataclasses.replace(
  QWEN2_1P5B,
  embed_dim=2048,
  num_layers=36,
  num_heads=16,
  mlp_dim=11_008,
  max_positions=32_768,
)
QWEN2P5_7B = QWEN2_7B
QWEN2P5_14B = dataclasses.replace(
  QWEN2_7B,
  embed_dim=5120,
  num_layers=48,
  num_heads=40,
  num_kv_heads=8,
  mlp_dim=13_824,
  norm_eps=1e-5,
)
QWEN2P5_32B = dataclasses.replace(QWEN2P5_14B, num_layers=64, mlp_dim=27_648)
QWEN2P5_72B = QWEN2_72B
