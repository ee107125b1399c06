"""A run's policy as a Hugging Face directory."""

import json
import pathlib
import tempfile
import typing
from typing import Any, Literal

import jax

import rlx
from rlx import config as configs
from rlx import experiment, trained
from rlx import tokenizer as tokenizers
from rlx.models import config as model_config
from rlx.models import hf, hf_card

_Dtype = Literal["float32", "bfloat16", "float16"]


def write(
  found: trained.Trained,
  directory: pathlib.Path,
  *,
  dtype: str = "float32",
) -> None:
  """Writes weights, configuration, tokeniser and model card; all or nothing.

  Raises:
    ValueError: the directory exists and is not empty, or `dtype` is unknown.
  """
  config = found.config
  base = getattr(config.model, "path", None)
  before = found.extra.get("before") or {}
  card = hf_card.Card(
    body=_body(found, before),
    base_model=pathlib.Path(base).name if base else None,
    tags=(found.parts.recipe.name, config.name),
  )
  sampling = config.rollout.sampling
  write_model(
    directory,
    found.parts.decoder,
    found.params,
    found.parts.tokenizer,
    dtype=dtype,
    card=card,
    generation={"do_sample": True, "temperature": sampling.temperature},
  )


def write_model(
  directory: pathlib.Path,
  decoder: model_config.DecoderConfig,
  params: Any,
  tokenizer: tokenizers.Tokenizer,
  *,
  dtype: str,
  card: hf_card.Card,
  generation: dict[str, Any],
) -> None:
  """Writes a model and its tokeniser."""
  if dtype not in typing.get_args(_Dtype):
    valid = ", ".join(typing.get_args(_Dtype))
    raise ValueError(f"dtype={dtype!r}: must be one of {valid}")
  special = {
    "eos_token_id": list(tokenizer.stop_ids),
    "pad_token_id": tokenizer.pad_id,
  }
  with tempfile.TemporaryDirectory() as beside:
    tokenizer.save(beside)
    hf.save(
      directory,
      decoder,
      params,
      dtype=typing.cast(_Dtype, dtype),
      tokenizer=beside,
      generation={**special, **generation},
      card=card,
    )


def _body(found: trained.Trained, before: dict[str, Any]) -> str:
  config: experiment.TrainConfig = found.config
  lines = [
    f"# {config.name}",
    "",
    f"Trained with [rlx] {rlx.__version__}: recipe `{found.parts.recipe.name}`, "
    f"{found.step} steps, seed {config.seed}.",
    "",
    f"    {found.parts.recipe.formula}",
    "",
    f"Source of the method: {found.parts.recipe.source}.",
    "",
  ]
  if before:
    lines += [
      f"Success on what was held out before: {before['success']:.3f} "
      f"({before['low']:.3f}–{before['high']:.3f}, n = {before['n']}).",
      "",
    ]
  lines += [
    f"Versions: jax {jax.__version__}.",
    "",
    "```json",
    json.dumps(configs.to_json(config), indent=2),
    "```",
  ]
  return "\n".join(lines)
