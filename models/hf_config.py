"""`config.json` of a Hugging Face directory, read and written."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from rlx.models import config as config_lib

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_SCALING = {  # Ours: theirs.
  "factor": "factor",
  "original_max_positions": "original_max_position_embeddings",
  "low_freq_factor": "low_freq_factor",
  "high_freq_factor": "high_freq_factor",
  "beta_fast": "beta_fast",
  "beta_slow": "beta_slow",
  "mscale": "mscale",
  "mscale_all_dim": "mscale_all_dim",
  "attention_factor": "attention_factor",
  "truncate": "truncate",
}
_USED_BY = {
  "linear": ("factor",),
  "llama3": (
    *("factor", "original_max_positions"),
    *("low_freq_factor", "high_freq_factor"),
  ),
  "yarn": (
    *("factor", "original_max_positions", "beta_fast", "beta_slow"),
    *("mscale", "mscale_all_dim", "attention_factor", "truncate"),
  ),
}


def read(directory: str | pathlib.Path) -> dict[str, Any]:
  """The parsed `config.json`.

  Raises:
    ValueError: There is none, or it is not a JSON object.
  """
  path = pathlib.Path(directory) / "config.json"
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise ValueError(
      f"{directory} has no config.json: not a Hugging Face model directory"
    ) from None
  except ValueError as error:
    raise ValueError(f"{path} is not valid JSON: {error}") from None
  if not isinstance(found, dict):
    raise ValueError(f"{path} is not a JSON object")
  return found


def parse(found: Mapping[str, Any]) -> config_lib.DecoderConfig:
  """The decoder that a `config.json` describes, computing in float32.

  Understands the forms of transformers 4 (`rope_theta`, `rope_scaling`) and 5
  (`rope_parameters`).

  Raises:
    ValueError: An architecture or an option that is not supported, by name; or
      a size is missing.
  """
  architecture = _architecture(found)
  _refuse_unsupported(found, architecture)
  missing = [
    name
    for name in (
      *("vocab_size", "hidden_size", "num_hidden_layers"),
      *("num_attention_heads", "intermediate_size"),
    )
    if not isinstance(found.get(name), int)
  ]
  if missing:
    raise ValueError(f"config.json lacks the integers {', '.join(missing)}")
  heads = found["num_attention_heads"]
  default_head_dim = found["hidden_size"] // heads
  if architecture == "Qwen3ForCausalLM":
    default_head_dim = 128  # The only one whose head is not a share of width.
  rope = _rope(found)
  return config_lib.DecoderConfig(
    vocab_size=found["vocab_size"],
    embed_dim=found["hidden_size"],
    num_layers=found["num_hidden_layers"],
    num_heads=heads,
    num_kv_heads=found.get("num_key_value_heads") or heads,
    head_dim=found.get("head_dim") or default_head_dim,
    mlp_dim=found["intermediate_size"],
    rope_theta=float(rope.get("rope_theta") or 10_000.0),
    rope_scaling=_scaling(rope, found),
    norm_eps=float(found.get("rms_norm_eps", 1e-6)),
    tied_embeddings=bool(found.get("tie_word_embeddings", False)),
    qkv_bias=architecture == "Qwen2ForCausalLM",
    qk_norm=architecture == "Qwen3ForCausalLM",
    max_positions=found.get("max_position_embeddings", 2048),
  )


def _architecture(found: Mapping[str, Any]) -> str:
  named = found.get("architectures") or []
  if len(named) == 1 and named[0] in ARCHITECTURES:
    return named[0]
  raise ValueError(
    f"config.json has architectures {named}; supported is one of"
    f" {', '.join(ARCHITECTURES)}"
  )


def _refuse_unsupported(found: Mapping[str, Any], architecture: str) -> None:
  refused = {
    "hidden_act": found.get("hidden_act", "silu") not in ("silu", "swish"),
    "attention_bias": found.get("attention_bias", False),
    "mlp_bias": found.get("mlp_bias", False),
    "use_sliding_window": found.get("use_sliding_window", False),
    "layer_types": set(found.get("layer_types") or ()) - {"full_attention"},
    "quantization_config": found.get("quantization_config"),
    "partial_rotary_factor": found.get("partial_rotary_factor", 1.0) != 1.0,
  }
  if architecture == "LlamaForCausalLM":
    refused["sliding_window"] = found.get("sliding_window")
  named = [
    f"{name}={found.get(name)!r}" for name, bad in refused.items() if bad
  ]
  if named:
    raise ValueError(
      f"config.json has options that are not supported: {', '.join(named)}"
    )


def _rope(found: Mapping[str, Any]) -> dict[str, Any]:
  """Rope parameters in one dictionary, whichever form they are written in."""
  rope = dict(found.get("rope_scaling") or {})
  rope.update(found.get("rope_parameters") or {})
  if found.get("rope_theta") is not None:
    rope.setdefault("rope_theta", found["rope_theta"])
  return rope


def _scaling(
  rope: Mapping[str, Any], found: Mapping[str, Any]
) -> config_lib.RopeScaling | None:
  kind = rope.get("rope_type") or rope.get("type") or "default"
  if kind == "default":
    return None
  if kind not in _USED_BY:
    raise ValueError(
      f"config.json has rope type {kind!r}; supported: default,"
      f" {', '.join(_USED_BY)}"
    )
  values = {
    ours: rope[_SCALING[ours]]
    for ours in _USED_BY[kind]
    if rope.get(_SCALING[ours]) is not None
  }
  if kind != "linear":
    # Absent, it is what transformers takes: the length of the model.
    values.setdefault(
      "original_max_positions", found.get("max_position_embeddings", 2048)
    )
  if "factor" not in values:
    raise ValueError(f"config.json has rope type {kind!r} without a factor")
  return config_lib.RopeScaling(kind=kind, **values)


def write(
  config: config_lib.DecoderConfig,
  dtype: str,
  special_tokens: Mapping[str, Any],
) -> dict[str, Any]:
  """The `config.json` of a decoder, as transformers 4 and 5 read it.

  Args:
    dtype: Of the tensors on disk.
    special_tokens: `bos_token_id`, `eos_token_id`, `pad_token_id`; those absent
      are written as null, lest transformers fill in its own.

  Raises:
    ValueError: No supported architecture has this combination of options.
  """
  if config.qkv_bias and config.qk_norm:
    raise ValueError(
      "qkv_bias and qk_norm are both True; no supported architecture has both"
    )
  family = (
    "Qwen2" if config.qkv_bias else "Qwen3" if config.qk_norm else "Llama"
  )
  written = {
    "architectures": [f"{family}ForCausalLM"],
    "model_type": family.lower(),
    "vocab_size": config.vocab_size,
    "hidden_size": config.embed_dim,
    "intermediate_size": config.mlp_dim,
    "num_hidden_layers": config.num_layers,
    "num_attention_heads": config.num_heads,
    "num_key_value_heads": config.num_kv_heads,
    "head_dim": config.head_dim,
    "hidden_act": "silu",
    "max_position_embeddings": config.max_positions,
    "initializer_range": config.init_std,
    "rms_norm_eps": config.norm_eps,
    "rope_theta": config.rope_theta,
    "rope_scaling": _write_scaling(config.rope_scaling),
    "tie_word_embeddings": config.tied_embeddings,
    "attention_dropout": 0.0,
    "use_cache": True,
    "torch_dtype": dtype,
  }
  if family != "Qwen2":
    written["attention_bias"] = False
  if family != "Llama":
    written["use_sliding_window"] = False
  for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
    written[name] = special_tokens.get(name)
  return written


def _write_scaling(
  scaling: config_lib.RopeScaling | None,
) -> dict[str, Any] | None:
  if scaling is None:
    return None
  written: dict[str, Any] = {"rope_type": scaling.kind}
  for ours in _USED_BY[scaling.kind]:
    if getattr(scaling, ours) is not None:
      written[_SCALING[ours]] = getattr(scaling, ours)
  return written
