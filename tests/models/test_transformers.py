"""Exported directories load in transformers; runs only where torch is."""

import pathlib
from typing import Any

import numpy as np
import pytest

from rlx.models import hf

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
GOLDENS = pathlib.Path(__file__).parent / "goldens"


@pytest.mark.parametrize("name", sorted(p.name for p in GOLDENS.iterdir()))
@pytest.mark.parametrize("max_shard_bytes", [8_000, 10**9])
def test_an_export_has_the_same_logits(name, max_shard_bytes, tmp_path):
  config = hf.load_config(GOLDENS / name)
  params = hf.load_params(GOLDENS / name, config)
  hf.save(tmp_path / "export", config, params, max_shard_bytes=max_shard_bytes)
  model = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / "export", dtype=torch.float32
  )
  with np.load(GOLDENS / name / "logits.npz") as golden, torch.no_grad():
    tokens = torch.tensor(golden["tokens"], dtype=torch.int64)
    logits = model(tokens).logits.numpy()
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-6, rtol=0)
