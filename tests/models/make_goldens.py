"""Writes tests/models/goldens: tiny models and their logits by transformers.

    python tests/models/make_goldens.py

Run once, in an environment with torch 2.13.0 and transformers 5.23.0; what it
writes is committed, so that the tests need no torch. Weights are random and
wide (norm scales and biases too), so that every tensor matters to the logits.
Each directory is what `save_pretrained` writes, and `logits.npz`: `tokens`
[2, 20] and `logits` [2, 20, 64] of the unpadded rows.
"""

import importlib
import pathlib
import shutil
import sys
from typing import Any

import numpy as np
import transformers

torch: Any = importlib.import_module("torch")  # Not in rlx's environment.

GOLDENS = pathlib.Path(__file__).parent / "goldens"
SIZES = {
  "vocab_size": 64,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "max_position_embeddings": 64,
  "bos_token_id": 1,
  "eos_token_id": 2,
}
LLAMA3 = {
  "rope_type": "llama3",
  "rope_theta": 10.0,
  "factor": 4.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5}
YARN = {
  "rope_type": "yarn",
  "rope_theta": 20.0,
  "factor": 4.0,
  "original_max_position_embeddings": 16,
  "beta_fast": 4.0,
}
YARN_MSCALE = YARN | {"mscale": 0.7, "mscale_all_dim": 0.4, "truncate": False}
PLAIN = {"rope_type": "default", "rope_theta": 10_000.0}

# name: family, key/value heads, tied, rope, other options.
CASES = {
  "llama-mha-untied": ("Llama", 4, False, PLAIN, {}),
  "llama-gqa-tied-llama3": ("Llama", 2, True, LLAMA3, {"head_dim": 8}),
  "llama-mqa-untied-linear": ("Llama", 1, False, LINEAR, {}),
  "qwen2-gqa-tied": ("Qwen2", 2, True, PLAIN, {}),
  "qwen2-mha-untied-yarn": ("Qwen2", 4, False, YARN, {}),
  "qwen3-gqa-untied": ("Qwen3", 2, False, PLAIN, {"head_dim": 8}),
  "qwen3-mqa-tied-yarn": ("Qwen3", 1, True, YARN_MSCALE, {"head_dim": 6}),
}
SHARDED = "llama-gqa-tied-llama3"  # Saved in several files, with an index.
NARROW = "qwen3-gqa-untied"  # Saved in bfloat16.


def make_model(name: str, seed: int) -> Any:
  family, num_kv_heads, tied, rope, options = CASES[name]
  config: Any = getattr(transformers, f"{family}Config")(
    **SIZES,
    **options,
    num_key_value_heads=num_kv_heads,
    tie_word_embeddings=tied,
    rope_parameters=dict(rope),
  )
  model = getattr(transformers, f"{family}ForCausalLM")(config).eval().float()
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for key, parameter in model.named_parameters():
      noise = torch.randn(parameter.shape, generator=generator)
      parameter.copy_(1 + 0.3 * noise if "norm" in key else 0.3 * noise)
  return model


def main() -> None:
  shutil.rmtree(GOLDENS, ignore_errors=True)
  for seed, name in enumerate(CASES):
    model = make_model(name, seed)
    if name == NARROW:
      model = model.bfloat16()
    shard = "8KB" if name == SHARDED else "1GB"
    model.save_pretrained(GOLDENS / name, max_shard_size=shard)
    # Reloaded: `.float()` would leave the rotary tables in bfloat16.
    model = transformers.AutoModelForCausalLM.from_pretrained(
      GOLDENS / name, dtype=torch.float32
    )
    generator = torch.Generator().manual_seed(100 + seed)
    tokens = torch.randint(0, SIZES["vocab_size"], (2, 20), generator=generator)
    with torch.no_grad():
      logits = model(tokens, use_cache=False).logits
    np.savez_compressed(
      GOLDENS / name / "logits.npz",
      tokens=tokens.numpy().astype(np.int32),
      logits=logits.numpy(),
    )
    sys.stdout.write(f"{name}: largest logit {logits.abs().max():.2f}\n")


if __name__ == "__main__":
  main()
