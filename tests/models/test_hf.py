"""Hugging Face directories: round trips, placement, refusals.

The golden directories are transformers' own; see make_goldens.py.
"""

import dataclasses
import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import NamedSharding, PartitionSpec

from rlx import sharding
from rlx.models import hf, hf_card, hf_config, policy

GOLDENS = pathlib.Path(__file__).parent / "goldens"
NAMES = sorted(path.name for path in GOLDENS.iterdir())
PLAIN, SHARDED = "llama-mha-untied", "llama-gqa-tied-llama3"


@functools.cache
def load(name):
  """Configuration and parameters."""
  config = hf.load_config(GOLDENS / name)
  return config, hf.load_params(GOLDENS / name, config)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_shard_bytes", [6_000, 10**9])
def test_export_and_reload_are_bit_equal(name, max_shard_bytes, tmp_path):
  config, params = load(name)
  target = tmp_path / "deep" / "export"
  hf.save(target, config, params, max_shard_bytes=max_shard_bytes)
  assert hf.load_config(target) == config
  again = hf.load_params(target, config)
  jax.tree.map(np.testing.assert_array_equal, again, params)
  single = (target / "model.safetensors").exists()
  assert single == (max_shard_bytes == 10**9)
  assert (target / "model.safetensors.index.json").exists() != single


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_exports_are_the_rounded_parameters(dtype, tmp_path):
  config, params = load(PLAIN)
  hf.save(tmp_path / "export", config, params, dtype=dtype)
  again = hf.load_params(tmp_path / "export", config)
  round_trip = lambda x: (
    np.asarray(x).astype(jnp.dtype(dtype)).astype("float32")
  )
  wanted = jax.tree.map(round_trip, params)
  jax.tree.map(np.testing.assert_array_equal, again, wanted)


@pytest.mark.parametrize("layers", ["scan", "unroll"])
def test_params_arrive_in_their_sharding(layers):
  config = dataclasses.replace(load(SHARDED)[0], layers=layers)
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2))
  places = sharding.shardings(policy.make_policy(config).axes, mesh)
  params = hf.load_params(GOLDENS / SHARDED, config, places)
  whole = hf.load_params(GOLDENS / SHARDED, config)
  jax.tree.map(np.testing.assert_array_equal, params, whole)
  same = jax.tree.map(lambda x, place: x.sharding == place, params, places)
  assert all(jax.tree.leaves(same))
  assert any(not x.is_fully_replicated for x in jax.tree.leaves(params))


def test_any_split_of_any_dimension_is_read_right():
  config, whole = load(SHARDED)
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=4))
  path = ("layers", "qkv")  # [L, D, K, G + 2, H]: three tensors along G + 2.
  for spec in (
    (None, "fsdp"),
    ("data", None, None, "fsdp"),
    (None,) * 4 + ("fsdp",),
  ):
    places = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), whole)
    places[path[0]][path[1]] = NamedSharding(mesh, PartitionSpec(*spec))
    params = hf.load_params(GOLDENS / SHARDED, config, places)
    np.testing.assert_array_equal(
      params["layers"]["qkv"], whole["layers"]["qkv"]
    )


def test_sharded_params_are_exported_whole(tmp_path):
  config, whole = load(SHARDED)
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2, tensor=2))
  places = sharding.shardings(policy.make_policy(config).axes, mesh)
  hf.save(tmp_path / "export", config, jax.device_put(whole, places))
  again = hf.load_params(tmp_path / "export", config)
  jax.tree.map(np.testing.assert_array_equal, again, whole)


def rewrite(directory, change):
  """A copy of the plain golden with its tensors changed in place."""
  shutil.copytree(GOLDENS / PLAIN, directory)
  path = directory / "model.safetensors"
  tensors = safetensors.numpy.load_file(path)
  change(tensors)
  safetensors.numpy.save_file(tensors, path)
  return directory


def test_tensors_that_do_not_fit_are_all_named_in_one_error(tmp_path):
  def change(tensors):
    del tensors["model.norm.weight"]
    tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((3, 4), np.float32)
    tensors["lm_head.weight"] = np.zeros((65, 16), np.float32)
    tensors["model.layers.0.mlp.down_proj.weight"] = np.zeros((16, 24), np.int8)

  directory = rewrite(tmp_path / "model", change)
  with pytest.raises(ValueError) as error:
    hf.load_params(directory, load(PLAIN)[0])
  for part in (
    r"missing: model.norm.weight (16,)",
    r"not expected: model.layers.2.mlp.up_proj.weight (3, 4)",
    r"lm_head.weight is (65, 16), config.json makes it (64, 16)",
    r"not floating point: model.layers.0.mlp.down_proj.weight I8",
  ):
    assert part in str(error.value)


def test_a_tied_head_on_disk_is_tolerated_only_if_equal(tmp_path):
  config = dataclasses.replace(load(PLAIN)[0], tied_embeddings=True)
  with pytest.raises(ValueError, match=r"lm_head.weight .* differs"):
    hf.load_params(GOLDENS / PLAIN, config)

  def tie(tensors):
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    # Saved by old versions of transformers; derived, so that it is ignored.
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    tensors[name] = np.zeros(2, np.float32)

  directory = rewrite(tmp_path / "model", tie)
  assert "head" not in hf.load_params(directory, config)


@pytest.mark.parametrize(
  "files,message",
  [
    (("pytorch_model.bin",), "pickles only .pytorch_model.bin.; .* Convert"),
    ((), "has neither model.safetensors nor model.safetensors.index.json"),
  ],
)
def test_a_directory_without_safetensors_is_refused(files, message, tmp_path):
  for name in files:
    (tmp_path / name).write_bytes(b"")
  with pytest.raises(ValueError, match=message):
    hf.load_params(tmp_path, load(PLAIN)[0])


def test_a_truncated_or_absent_file_is_refused_by_name(tmp_path):
  config = load(SHARDED)[0]
  shutil.copytree(GOLDENS / SHARDED, tmp_path / "model")
  first, second, *_ = sorted((tmp_path / "model").glob("*.safetensors"))
  first.write_bytes(first.read_bytes()[:-5])
  with pytest.raises(ValueError, match=f"{first.name} is not readable"):
    hf.load_params(tmp_path / "model", config)
  second.unlink()
  with pytest.raises(ValueError, match=f"absent: .*{second.name}"):
    hf.load_params(tmp_path / "model", config)


PUBLISHED = {  # As transformers 4 writes it, with what can be left out left out.
  "architectures": ["LlamaForCausalLM"],
  "vocab_size": 64,
  "hidden_size": 16,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 24,
}


def test_absent_options_have_the_defaults_of_transformers():
  config = hf_config.parse(PUBLISHED)
  assert config.num_kv_heads == 4
  assert config.head_dim == 4
  assert config.rope_theta == 10_000.0
  assert not config.tied_embeddings
  qwen3 = hf_config.parse(PUBLISHED | {"architectures": ["Qwen3ForCausalLM"]})
  assert qwen3.head_dim == 128


def test_rope_is_read_in_the_forms_of_transformers_4_and_5():
  values = {"factor": 8.0, "original_max_position_embeddings": 16}
  old = {"rope_theta": 5e5, "rope_scaling": {"type": "yarn"} | values}
  new = {"rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5} | values}
  assert hf_config.parse(PUBLISHED | old) == hf_config.parse(PUBLISHED | new)
  assert hf_config.parse(PUBLISHED | old).rope_theta == 5e5


@pytest.mark.parametrize(
  "change,message",
  [
    ({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM.*supported is one of LlamaForCausalLM, Qwen2"),
    ({"architectures": None}, r"architectures \[\]; supported"),
    ({"use_sliding_window": True}, "not supported: use_sliding_window=True"),
    ({"attention_bias": True, "mlp_bias": True}, "attention_bias=True, mlp_bias=True"),
    ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
    ({"quantization_config": {"bits": 4}}, "quantization_config="),
    ({"layer_types": ["sliding_attention"]}, "layer_types="),
    ({"rope_scaling": {"type": "dynamic"}}, "rope type 'dynamic'; supported: default, linear, llama3, yarn"),
    ({"rope_scaling": {"type": "linear"}}, "'linear' without a factor"),
    ({"hidden_size": None}, "lacks the integers hidden_size"),
  ],
)  # fmt: skip
def test_an_unsupported_option_is_refused_by_name(change, message):
  with pytest.raises(ValueError, match=message):
    hf_config.parse(PUBLISHED | change)


def test_a_directory_without_a_config_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"has no config.json"):
    hf.load_config(tmp_path)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config.json is not valid JSON"):
    hf.load_config(tmp_path)


def test_an_export_has_tokenizer_generation_and_card(tmp_path):
  config, params = load(PLAIN)
  (tmp_path / "tokenizer").mkdir()
  (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
  hf.save(
    tmp_path / "export",
    config,
    params,
    tokenizer=tmp_path / "tokenizer",
    generation={"eos_token_id": [2, 5], "temperature": 0.7},
    card=hf_card.Card(
      "# Result", base_model="a/b", tags=("grpo",), license="mit"
    ),
  )
  read = lambda name: (tmp_path / "export" / name).read_text()
  assert json.loads(read("generation_config.json"))["temperature"] == 0.7
  assert json.loads(read("config.json"))["eos_token_id"] == [2, 5]
  assert read("tokenizer.json") == "{}"
  assert read("README.md") == (
    '---\nbase_model: "a/b"\nlicense: "mit"\nlibrary_name: rlx\n'
    'pipeline_tag: text-generation\ntags:\n- "rlx"\n- "grpo"\n---\n\n# Result\n'
  )


def test_nothing_is_left_of_a_failed_export(tmp_path):
  config, params = load(PLAIN)
  with pytest.raises(ValueError, match="has no tokenizer files"):
    hf.save(tmp_path / "export", config, params, tokenizer=tmp_path)
  assert not list(tmp_path.iterdir())


def test_an_export_does_not_overwrite(tmp_path):
  config, params = load(PLAIN)
  (tmp_path / "mine.txt").write_text("")
  with pytest.raises(ValueError, match="exists and is not an empty directory"):
    hf.save(tmp_path, config, params)


def test_params_of_another_shape_are_not_exported(tmp_path):
  config, params = load(PLAIN)
  wrong = dataclasses.replace(config, mlp_dim=12)
  with pytest.raises(ValueError, match=r"layers/gate_up is \(2, 16, 2, 24\)"):
    hf.save(tmp_path / "export", wrong, params)


def test_both_bias_and_norm_cannot_be_exported(tmp_path):
  config, params = load(PLAIN)
  both = dataclasses.replace(config, qkv_bias=True, qk_norm=True)
  with pytest.raises(ValueError, match="qkv_bias and qk_norm are both True"):
    hf.save(tmp_path / "export", both, params)
