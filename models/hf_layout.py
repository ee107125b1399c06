"""Which Hugging Face tensors make up each of our parameters, and how.

A parameter of one layer is one or more tensors, each reshaped, transposed, and
put side by side along one axis. Kept as data, so that reading a slice, writing
a tensor and checking shapes all derive from the same table.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlx.models import config as config_lib

Path = tuple[str, ...]  # Keys of a parameter in the tree.


@dataclasses.dataclass(frozen=True)
class Piece:
  """One tensor on disk, as a part of a parameter.

  Attributes:
    name: On disk.
    factors: Per dimension on disk, the sizes that it is a product of.
    order: The permutation of all factors, in the parameter's order.
  """

  name: str
  factors: tuple[tuple[int, ...], ...]
  order: tuple[int, ...]

  @property
  def shape(self) -> tuple[int, ...]:
    """On disk."""
    return tuple(math.prod(sizes) for sizes in self.factors)

  @property
  def unpacked(self) -> tuple[int, ...]:
    """Of the part, in the parameter's order."""
    flat = [size for sizes in self.factors for size in sizes]
    return tuple(flat[axis] for axis in self.order)

  def read(self, tensor: Any, index: Sequence[slice]) -> np.ndarray:
    """`part[index]`, reading only the rows and columns that hold it.

    Args:
      tensor: Sliced as `tensor[rows, columns]`; returns arrays.
      index: Slices with bounds and without steps, in the parameter's order.
    """
    wanted = [slice(None)] * len(self.order)
    for axis, part in zip(self.order, index, strict=True):
      wanted[axis] = part
    outer, shape, inner, axis = [], [], [], 0
    for sizes in self.factors:
      major = wanted[axis]
      minor = math.prod(sizes[1:])
      outer.append(slice(major.start * minor, major.stop * minor))
      shape += [major.stop - major.start, *sizes[1:]]
      inner += [slice(None), *wanted[axis + 1 : axis + len(sizes)]]
      axis += len(sizes)
    block = np.asarray(tensor[tuple(outer)]).reshape(shape)
    return block[tuple(inner)].transpose(self.order)

  def write(self, part: np.ndarray) -> np.ndarray:
    """The tensor on disk of a whole part; the inverse of `read`."""
    back = np.argsort(self.order)
    return np.ascontiguousarray(part.transpose(back)).reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One leaf of the tree: pieces side by side along `axis`, layers stacked.

  Attributes:
    layers: The pieces, per layer of a stack; one entry if not stacked.
    axis: Of one layer's parameter, along which its pieces lie.
    stacked: There is a leading axis of layers.
  """

  layers: tuple[tuple[Piece, ...], ...]
  axis: int = 0
  stacked: bool = False

  @property
  def shape(self) -> tuple[int, ...]:
    pieces = self.layers[0]
    one = list(pieces[0].unpacked)
    one[self.axis] = sum(piece.unpacked[self.axis] for piece in pieces)
    return (len(self.layers), *one) if self.stacked else tuple(one)

  def read(
    self, tensors: Mapping[str, Any], index: Sequence[slice]
  ) -> np.ndarray:
    """`parameter[index]` in float32, from slices of the tensors."""
    full = [
      slice(*part.indices(size)[:2])
      for part, size in zip(index, self.shape, strict=True)
    ]
    out = np.empty([part.stop - part.start for part in full], np.float32)
    if not self.stacked:
      self._fill(out, self.layers[0], tensors, full)
      return out
    for one, pieces in zip(out, self.layers[full[0]], strict=True):
      self._fill(one, pieces, tensors, full[1:])
    return out

  def _fill(self, out, pieces, tensors, index) -> None:
    """Writes `layer[index]` into `out`, piece by piece along the axis."""
    wanted, begin, filled = index[self.axis], 0, 0
    for piece in pieces:
      size = piece.unpacked[self.axis]
      start = max(wanted.start - begin, 0)
      stop = min(wanted.stop - begin, size)
      begin += size
      if start >= stop:
        continue
      own, place = list(index), [slice(None)] * len(index)
      own[self.axis] = slice(start, stop)
      place[self.axis] = slice(filled, filled + stop - start)
      out[tuple(place)] = piece.read(tensors[piece.name], own)
      filled += stop - start

  def split(self, one_layer: np.ndarray, layer: int) -> dict[str, np.ndarray]:
    """The tensors on disk of one layer's parameter, by name."""
    pieces = self.layers[layer]
    ends = np.cumsum([piece.unpacked[self.axis] for piece in pieces])
    parts = np.split(one_layer, ends[:-1], axis=self.axis)
    return {
      piece.name: piece.write(part)
      for piece, part in zip(pieces, parts, strict=True)
    }


def layout(config: config_lib.DecoderConfig) -> dict[Path, Parameter]:
  """Every parameter of a decoder, by its path."""
  c, width = config, (config.embed_dim,)
  table = ((c.vocab_size,), width)
  out: dict[Path, Parameter] = {
    ("embed",): _whole("model.embed_tokens.weight", table),
    ("final_norm",): _whole("model.norm.weight", (width,)),
  }
  if not c.tied_embeddings:
    out["head",] = _whole("lm_head.weight", table)
  layers = [_layer(c, f"model.layers.{i}.") for i in range(c.num_layers)]
  if c.layers == "unroll":
    for i, parameters in enumerate(layers):
      for name, parameter in parameters.items():
        out[f"layers_{i}", name] = parameter
    return out
  for name, first in layers[0].items():
    pieces = tuple(parameters[name].layers[0] for parameters in layers)
    out["layers", name] = Parameter(pieces, first.axis, stacked=True)
  return out


def _whole(name: str, factors: tuple[tuple[int, ...], ...]) -> Parameter:
  order = tuple(range(sum(map(len, factors))))
  return Parameter(((Piece(name, factors, order),),))


def _layer(c: config_lib.DecoderConfig, at: str) -> dict[str, Parameter]:
  """One layer's parameters; see `rlx.models.decoder` for the fused layouts."""
  width, mlp = (c.embed_dim,), (1, c.mlp_dim)
  parts = [
    (name, (c.num_kv_heads, group, c.head_dim))
    for name, group in (("q", c.queries_per_kv), ("k", 1), ("v", 1))
  ]
  qkv = tuple(
    Piece(f"{at}self_attn.{name}_proj.weight", (sizes, width), (3, 0, 1, 2))
    for name, sizes in parts
  )
  gate_up = tuple(
    Piece(f"{at}mlp.{name}_proj.weight", (mlp, width), (2, 0, 1))
    for name in ("gate", "up")
  )
  heads = (width, (c.num_heads, c.head_dim))
  wide = (width, (c.mlp_dim,))
  found = {
    "attention_norm": _whole(f"{at}input_layernorm.weight", (width,)),
    "qkv": Parameter((qkv,), axis=2),
    "out": _whole(f"{at}self_attn.o_proj.weight", heads),
    "mlp_norm": _whole(f"{at}post_attention_layernorm.weight", (width,)),
    "gate_up": Parameter((gate_up,), axis=1),
    "down": _whole(f"{at}mlp.down_proj.weight", wide),
  }
  if c.qkv_bias:
    biases = tuple(
      Piece(f"{at}self_attn.{name}_proj.bias", (sizes,), (0, 1, 2))
      for name, sizes in parts
    )
    found["qkv_bias"] = Parameter((biases,), axis=1)
  if c.qk_norm:
    for name in ("q_norm", "k_norm"):
      found[name] = _whole(f"{at}self_attn.{name}.weight", ((c.head_dim,),))
  return found
