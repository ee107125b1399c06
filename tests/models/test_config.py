"""Configurations: what they refuse, and the published sizes."""

import copy

import jax
import pytest

from rlx.models import config, llama, policy, qwen2, qwen3

TINY = config.DecoderConfig(
  vocab_size=8,
  embed_dim=8,
  num_layers=1,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  mlp_dim=8,
)


@pytest.mark.parametrize(
  "field,value,message",
  [
    ("vocab_size", 0, "vocab_size is 0; valid: positive"),
    ("norm_eps", -1.0, "norm_eps is -1.0; valid: positive"),
    ("num_kv_heads", 3, "num_heads is 2; valid: a multiple of num_kv_heads, 3"),
    ("head_dim", 3, "head_dim is 3; valid: an even number"),
    ("dtype", "float64", "dtype is 'float64'; valid: float32, bfloat16"),
    ("remat", "all", "remat is 'all'; valid: none, block"),
    ("layers", "loop", "layers is 'loop'; valid: scan, unroll"),
  ],
)
def test_an_impossible_field_is_refused_by_name(field, value, message):
  with pytest.raises(ValueError, match=message):
    check(TINY, {field: value})


def check(good, fields):
  """Validates `good` with other fields, whatever the type checker of tests."""
  bad = copy.copy(good)
  for name, value in fields.items():
    object.__setattr__(bad, name, value)
  bad.__post_init__()


@pytest.mark.parametrize(
  "fields,message",
  [
    ({"kind": "ntk", "factor": 2.0}, "kind is 'ntk'; valid: linear, llama3"),
    ({"kind": "linear", "factor": 0.5}, "factor is 0.5; valid: >= 1"),
    ({"kind": "yarn", "factor": 2.0}, "original_max_positions is None; yarn"),
    (
      {
        "kind": "llama3",
        "factor": 2.0,
        "original_max_positions": 8,
        "low_freq_factor": 4.0,
      },
      "high_freq_factor is 4.0; valid: above low_freq_factor, 4.0",
    ),
    (
      {
        "kind": "yarn",
        "factor": 2.0,
        "original_max_positions": 8,
        "beta_slow": 64.0,
      },
      "beta_fast is 32.0; valid: at least beta_slow, 64.0",
    ),
  ],
)
def test_an_impossible_rope_scaling_is_refused_by_name(fields, message):
  with pytest.raises(ValueError, match=message):
    check(config.RopeScaling(kind="linear", factor=2.0), fields)


# Parameters as published on each model's page (of the safetensors metadata).
PUBLISHED = {
  (llama, "LLAMA_2_7B"): 6_738_415_616,
  (llama, "LLAMA_2_13B"): 13_015_864_320,
  (llama, "LLAMA_2_70B"): 68_976_648_192,
  (llama, "LLAMA_3_8B"): 8_030_261_248,
  (llama, "LLAMA_3_70B"): 70_553_706_496,
  (llama, "LLAMA_3_1_8B"): 8_030_261_248,
  (llama, "LLAMA_3_1_70B"): 70_553_706_496,
  (llama, "LLAMA_3_1_405B"): 405_853_388_800,
  (llama, "LLAMA_3_2_1B"): 1_235_814_400,
  (llama, "LLAMA_3_2_3B"): 3_212_749_824,
  (llama, "LLAMA_3_3_70B"): 70_553_706_496,
  (qwen2, "QWEN2_0P5B"): 494_032_768,
  (qwen2, "QWEN2_1P5B"): 1_543_714_304,
  (qwen2, "QWEN2_7B"): 7_615_616_512,
  (qwen2, "QWEN2_72B"): 72_706_203_648,
  (qwen2, "QWEN2P5_0P5B"): 494_032_768,
  (qwen2, "QWEN2P5_1P5B"): 1_543_714_304,
  (qwen2, "QWEN2P5_3B"): 3_085_938_688,
  (qwen2, "QWEN2P5_7B"): 7_615_616_512,
  (qwen2, "QWEN2P5_14B"): 14_770_033_664,
  (qwen2, "QWEN2P5_32B"): 32_763_876_352,
  (qwen2, "QWEN2P5_72B"): 72_706_203_648,
  (qwen3, "QWEN3_0P6B"): 596_049_920,
  (qwen3, "QWEN3_1P7B"): 1_720_574_976,
  (qwen3, "QWEN3_4B"): 4_022_468_096,
  (qwen3, "QWEN3_8B"): 8_190_735_360,
  (qwen3, "QWEN3_14B"): 14_768_307_200,
  (qwen3, "QWEN3_32B"): 32_762_123_264,
}


@pytest.mark.parametrize(
  "module,name", PUBLISHED, ids=[name for _, name in PUBLISHED]
)
def test_a_published_size_has_the_published_number_of_parameters(module, name):
  decoder = policy.make_policy(getattr(module, name))
  shapes = jax.eval_shape(decoder.init, jax.random.key(0))
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert count == PUBLISHED[module, name]


def test_every_published_size_is_counted():
  named = {
    (module, name)
    for module in (llama, qwen2, qwen3)
    for name, value in vars(module).items()
    if isinstance(value, config.DecoderConfig)
  }
  assert named == set(PUBLISHED)
