"""Hugging Face directories to parameters and back.

config = hf.load_config(directory)
params = hf.load_params(directory, config, shardings)
hf.save(directory, config, params)
"""

import functools
import json
import math
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from rlx.models import config as config_lib
from rlx.models import hf_card, hf_config, hf_layout, safetensors_io

# Tables that old versions of transformers saved; they are derived, not learnt.
_DERIVED = re.compile(r"\.rotary_emb\.inv_freq$")
_TOKENIZER_FILES = (
  *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
  *("added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model"),
  *("chat_template.jinja", "chat_template.json"),
)


@runtime_checkable
class Saver(Protocol):
  """A tokenizer, or whatever else writes itself."""

  def save_pretrained(self, save_directory: str, /) -> Any: ...


def load_config(directory: str | pathlib.Path) -> config_lib.DecoderConfig:
  """The decoder of a directory; see `hf_config.parse`."""
  return hf_config.parse(hf_config.read(directory))


def load_params(
  directory: str | pathlib.Path,
  config: config_lib.DecoderConfig,
  shardings: Any = None,
) -> Any:
  """Float32 parameters, read into their placement one at a time.

  Each device's part of each parameter is read from the slices of the tensors
  that hold it; no host ever holds more than one parameter's local parts beside
  those already placed.

  Args:
    shardings: Tree like the parameters, or None: all on the first device.

  Raises:
    ValueError: The directory has no safetensors, or its tensors do not fit
      `config`: one message with every name, and both shapes.
  """
  layout = hf_layout.layout(config)
  wanted = {
    piece.name: piece.shape
    for parameter in layout.values()
    for pieces in parameter.layers
    for piece in pieces
  }
  with safetensors_io.open_directory(directory) as tensors:
    safetensors_io.check(tensors, wanted, functools.partial(_tolerated, config))
    _check_tied(tensors, config)
    out: dict[str, Any] = {}
    for path, parameter in layout.items():
      place = _follow(shardings, path)
      parent = functools.reduce(
        lambda d, k: d.setdefault(k, {}), path[:-1], out
      )
      parent[path[-1]] = _read(parameter, tensors, place)
  return out


def _read(
  parameter: hf_layout.Parameter, tensors: Mapping[str, Any], place: Any
) -> jax.Array:
  # Replicas ask for the same slices: read them once.
  parts: dict[str, np.ndarray] = {}

  def part(index: Any) -> np.ndarray:
    key = str(index)
    if key not in parts:
      parts[key] = parameter.read(tensors, index)
    return parts[key]

  place = place or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.make_array_from_callback(parameter.shape, place, part)


def _follow(tree: Any, path: hf_layout.Path) -> Any:
  for name in path:
    tree = None if tree is None else tree[name]
  return tree


def _tolerated(config: config_lib.DecoderConfig, name: str) -> bool:
  tied = config.tied_embeddings and name == "lm_head.weight"
  return tied or bool(_DERIVED.search(name))


def _check_tied(
  tensors: Mapping[str, Any], config: config_lib.DecoderConfig
) -> None:
  """A head beside tied embeddings is accepted only if it is the embedding."""
  if not config.tied_embeddings or "lm_head.weight" not in tensors:
    return
  head, embed = tensors["lm_head.weight"], tensors["model.embed_tokens.weight"]
  shapes = tuple(head.get_shape()), tuple(embed.get_shape())
  starts = range(0, config.vocab_size, 4096)
  blocks = [slice(i, min(i + 4096, config.vocab_size)) for i in starts]
  if shapes[0] != shapes[1] or any(
    not np.array_equal(head[rows], embed[rows]) for rows in blocks
  ):
    raise ValueError(
      "config.json says tie_word_embeddings, but lm_head.weight"
      f" {shapes[0]} differs from model.embed_tokens.weight {shapes[1]}"
    )


def save(
  directory: str | pathlib.Path,
  config: config_lib.DecoderConfig,
  params: Any,
  *,
  dtype: Literal["float32", "bfloat16", "float16"] = "float32",
  tokenizer: str | pathlib.Path | Saver | None = None,
  generation: Mapping[str, Any] | None = None,
  card: hf_card.Card | None = None,
  max_shard_bytes: int = 5_000_000_000,
) -> None:
  """Writes a directory that transformers loads; all of it or nothing.

  With several processes, all of them call this and the first one writes.

  Args:
    tokenizer: A directory to copy its files from, or an object that writes
      itself by `save_pretrained`.
    generation: Of `generation_config.json` (`eos_token_id`, `temperature`, …);
      its special tokens go into `config.json` as well.
    card: README.md; None writes one without a body.

  Raises:
    ValueError: `directory` exists and is not empty, the configuration has no
      architecture in transformers, or a parameter has another shape than
      `config` makes it.
  """
  generation = dict(generation or {})
  described = hf_config.write(config, dtype, generation)
  layout = hf_layout.layout(config)
  for path, parameter in layout.items():
    if _follow(params, path).shape != parameter.shape:
      raise ValueError(
        f"parameter {'/'.join(path)} is {_follow(params, path).shape}, config"
        f" makes it {parameter.shape}"
      )
  if jax.process_index() != 0:
    for group in _groups(layout, params, dtype):
      group.make()  # Takes part in gathering.
    return
  with safetensors_io.new_directory(directory) as building:
    groups = _groups(layout, params, dtype)
    safetensors_io.write_shards(building, groups, max_shard_bytes)
    _write_json(building / "config.json", described)
    _write_json(building / "generation_config.json", generation)
    _write_tokenizer(building, tokenizer)
    text = hf_card.render(card or hf_card.Card())
    (building / "README.md").write_text(text, encoding="utf-8")


def _groups(
  layout: Mapping[hf_layout.Path, hf_layout.Parameter], params: Any, dtype: str
) -> Iterator[safetensors_io.Group]:
  """The tensors of one parameter of one layer at a time."""
  itemsize = jnp.dtype(dtype).itemsize
  for number in range(max(len(p.layers) for p in layout.values())):
    for path, parameter in layout.items():
      if number < len(parameter.layers):
        pieces = parameter.layers[number]
        size = sum(math.prod(piece.shape) for piece in pieces)
        make = functools.partial(
          _one_layer, _follow(params, path), parameter, number, dtype
        )
        yield safetensors_io.Group(size * itemsize, make)


def _one_layer(
  leaf: Any, parameter: hf_layout.Parameter, number: int, dtype: str
) -> dict[str, np.ndarray]:
  one = leaf[number] if parameter.stacked else leaf
  if isinstance(one, jax.Array) and not one.is_fully_addressable:
    from jax.experimental import multihost_utils  # Several processes only.

    one = multihost_utils.process_allgather(one, tiled=True)
  return parameter.split(np.asarray(one).astype(jnp.dtype(dtype)), number)


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(
  directory: pathlib.Path, tokenizer: str | pathlib.Path | Saver | None
) -> None:
  if tokenizer is None:
    return
  if not isinstance(tokenizer, str | pathlib.Path):
    tokenizer.save_pretrained(str(directory))
    return
  found = [
    path
    for name in _TOKENIZER_FILES
    if (path := pathlib.Path(tokenizer) / name).exists()
  ]
  if not found:
    raise ValueError(f"{tokenizer} has no tokenizer files")
  for path in found:
    shutil.copy(path, directory)
