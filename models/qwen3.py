"""The published dense sizes of Qwen3.

Written from memory of each model's published `config.json`. Every parameter
count matches the published one (a test states the numbers), so widths, depths,
heads and tying are right with high confidence. What a count does not show
(`rope_theta`, `norm_eps`, `max_positions` of the post-trained models; the base
models have 32,768) was compared with public copies of the files for 0.6B, 4B,
8B and 32B, and is of high confidence for the others.
`rlx.models.hf.load_config` reads the truth from a model's own directory.
"""

import dataclasses

from rlx.models import config

QWEN3_0P6B = config.DecoderConfig(
  vocab_size=151_936,
  embed_dim=1024,
  num_layers=28,
  num_heads=16,
  num_kv_heads=8,
  head_dim=128,
  mlp_dim=3072,
  rope_theta=1_000_000.0,
  norm_eps=1e-6,
  tied_embeddings=True,
  qk_norm=True,
  max_positions=40_960,
)
QWEN3_1P7B = dataclasses.replace(QWEN3_0P6B, embed_dim=2048, mlp_dim=6144)
QWEN3_4B = dataclasses.replace(
  QWEN3_0P6B, embed_dim=2560, num_layers=36, num_heads=32, mlp_dim=9728
)
QWEN3_8B = dataclasses.replace(
  QWEN3_4B, embed_dim=4096, mlp_dim=12_288, tied_embeddings=False
)
QWEN3_14B = dataclasses.replace(
  QWEN3_8B, embed_dim=5120, num_layers=40, num_heads=40, mlp_dim=17_408
)
QWEN3_32B = dataclasses.replace(
  QWEN3_8B, embed_dim=5120, num_layers=64, num_heads=64, mlp_dim=25_600
)
