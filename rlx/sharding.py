"""One mesh, one rules table, every placement.

Arrays carry logical axis names; `RULES` says which mesh axis each is split over.
`jax.jit` with shardings (what pjit is today) does the rest.
"""

import collections
import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor", "context", "expert")

# Logical axis -> mesh axes. A logical name absent here, and None, is not split.
RULES: dict[str, str | tuple[str, ...] | None] = {
  "batch": ("data", "fsdp"),
  "length": None,
  "layers": None,
  "vocab": "tensor",
  "embed": "fsdp",
  "heads": "tensor",
  "kv_heads": "tensor",
  "head_dim": None,
  "mlp": "tensor",
  "norm": None,
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis. One of them may be -1: all that are left."""

  data: int = -1
  """Copies of the parameters; the batch is split over them."""
  fsdp: int = 1
  """Splits the batch and the parameters; these are gathered layer by layer."""
  tensor: int = 1
  """Splits heads, the MLP's width and the vocabulary."""
  context: int = 1
  """Splits long sequences (reserved)."""
  expert: int = 1
  """Splits experts (reserved)."""


def make_mesh(config: MeshConfig, devices: Any = None) -> Mesh:
  """Returns the mesh; the one place that builds one.

  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = [getattr(config, axis) for axis in AXES]
  free = [i for i, size in enumerate(sizes) if size == -1]
  known = math.prod(size for size in sizes if size != -1)
  bad = [
    f"mesh.{a}={s}"
    for a, s in zip(AXES, sizes, strict=True)
    if s == 0 or s < -1
  ]
  if bad or len(free) > 1:
    raise ValueError(
      f"{', '.join(bad) or 'several mesh axes are -1'}: an axis is a positive "
      "number of devices, and one axis at the most may be -1 (all that are left)"
    )
  if len(devices) % known or (not free and known != len(devices)):
    raise ValueError(
      f"mesh {dict(zip(AXES, sizes, strict=True))} needs "
      f"{'a multiple of ' if free else ''}{known} devices, but there are "
      f"{len(devices)}"
    )
  if free:
    sizes[free[0]] = len(devices) // known
  # Auto: losses and estimators stay plain jnp; the partitioner places them.
  return Mesh(
    np.array(devices).reshape(sizes),
    AXES,
    axis_types=(AxisType.Auto,) * len(AXES),
  )


def spec(logical: tuple[str | None, ...], rules: Any = None) -> PartitionSpec:
  """Returns the partition spec of an array with these logical axes.

  Raises:
    ValueError: two of its axes would be split over the same mesh axis.
  """
  rules = RULES if rules is None else rules
  parts = [None if name is None else rules.get(name) for name in logical]
  flat = [a for p in parts if p for a in ((p,) if isinstance(p, str) else p)]
  twice = [a for a, n in collections.Counter(flat).items() if n > 1]
  if twice:
    raise ValueError(
      f"sharding rules split the axes {logical} over mesh axis '{twice[0]}' twice"
    )
  return PartitionSpec(*parts)


def is_axes(x: Any) -> bool:
  """True for a leaf of an axes tree: a tuple of axis names or None."""
  return isinstance(x, tuple) and all(
    i is None or isinstance(i, str) for i in x
  )


def shardings(axes: Any, mesh: Mesh, rules: Any = None) -> Any:
  """Returns the tree of `NamedSharding` for a tree of logical axes."""
  return jax.tree.map(
    lambda names: NamedSharding(mesh, spec(names, rules)), axes, is_leaf=is_axes
  )


def batch_sharding(mesh: Mesh, ndim: int = 2) -> NamedSharding:
  """Returns the placement of an array whose first axis is sequences."""
  return NamedSharding(mesh, spec(("batch",) + (None,) * (ndim - 1)))


def constrainer(mesh: Mesh, rules: Any = None) -> Any:
  """Returns `(activation, logical axes) -> activation`, which fixes its place.

  An activation whose rows do not divide over the mesh is left to the compiler,
  and so is all within `jax.shard_map`, where a device's rows are its own.
  """

  def constrain(x: jax.Array, logical: tuple[str | None, ...]) -> jax.Array:
    if jax.sharding.get_abstract_mesh().manual_axes:
      return x
    if mesh.devices.size == 1 or x.shape[0] % batch_devices(mesh):
      return x
    place = NamedSharding(mesh, spec(logical, rules))
    return jax.lax.with_sharding_constraint(x, place)

  return constrain


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the placement of an array that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_devices(mesh: Mesh) -> int:
  """Returns how many parts the batch axis is split into."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def place_rows(mesh: Mesh, x: np.ndarray) -> jax.Array:
  """Puts rows on the mesh: split over its batch axes if that comes out even."""
  if x.shape[0] % batch_devices(mesh):
    return jax.device_put(x, replicated(mesh))
  return jax.device_put(x, batch_sharding(mesh, x.ndim))


def check_divides(name: str, rows: int, mesh: Mesh) -> None:
  """Refuses a number of rows that does not split evenly over the mesh.

  Raises:
    ValueError: with both numbers and the nearest valid ones.
  """
  parts = batch_devices(mesh)
  if rows % parts:
    low = rows // parts * parts
    valid = f"{low} or {low + parts}" if low else f"{parts}"
    raise ValueError(
      f"{name}={rows} does not divide over data × fsdp = {parts} devices; "
      f"the nearest that do: {valid}"
    )


def check_params(axes: Any, shapes: Any, mesh: Mesh, rules: Any = None) -> None:
  """Refuses parameters whose dimensions do not divide over their mesh axes.

  Raises:
    ValueError: names the parameter, the dimension and the mesh axis.
  """
  flat, _ = jax.tree_util.tree_flatten_with_path(axes, is_leaf=is_axes)
  for (path, names), leaf in zip(flat, jax.tree.leaves(shapes), strict=True):
    for name, size, part in zip(
      names, leaf.shape, spec(names, rules), strict=True
    ):
      over = () if part is None else (part,) if isinstance(part, str) else part
      parts = math.prod(mesh.shape[a] for a in over)
      if size % parts:
        raise ValueError(
          f"parameter {jax.tree_util.keystr(path)}: axis '{name}' of size {size} "
          f"does not divide over mesh axis {over} of size {parts}"
        )
