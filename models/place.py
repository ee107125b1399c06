"""Where a program runs, for kernels: the one place that chooses them.

The mesh decides, not the process and not the platform that a program is lowered
for: shapes depend on it (a trunk is a copy of pages, or a table of them), and a
program may be compiled for devices that are not here.

On a TPU, whole rows go through the library's splash attention (`flash`), and a
trunk that is loaded in place is read where its pages lie, by a kernel of ours
(`paged`). On a CPU and a GPU both are XLA's operations: pages are copied once,
when they are loaded. The library's paged attention for GPU has the two faults of
the one for TPU, see `paged`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from rlx import sharding

Axes = tuple[str | None, ...]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Place:
  """What runs kernels.

  Attributes:
    mesh: rows are split over its batch axes and heads over `tensor`; None for
      one device.
    interpret: run them in XLA's operations, on any platform.
  """

  mesh: Mesh | None
  interpret: bool = False


def of(mesh: Mesh | None) -> Place | None:
  """The place where kernels run; None: there are none, or nothing is known."""
  if mesh is None or platform(mesh) != "tpu":
    return None
  return Place(mesh)


def platform(mesh: Mesh | None) -> str:
  """What the devices of a mesh are; without one, those of this process."""
  if mesh is None:
    return jax.default_backend()
  return mesh.devices.flat[0].platform


def parts(place: Place) -> int:
  """Into how many parts `split` divides rows."""
  if place.mesh is None:
    return 1
  return math.prod(
    place.mesh.shape[axis] for axis in ("data", "fsdp") if axis not in _taken()
  )


def split(
  run: Callable[..., Any], place: Place, inputs: tuple[Axes, ...], outputs: Any
) -> Callable[..., Any]:
  """The function, run by every device on its own part of the arrays.

  The partitioner cannot split a kernel.

  Args:
    inputs: logical axes of each array.
    outputs: and of the result.
  """
  mesh, taken = place.mesh, _taken()
  if mesh is None or mesh.devices.size == 1 or taken >= set(mesh.axis_names):
    return run

  def spec(axes):
    left = lambda over: tuple(
      axis
      for axis in ((over,) if isinstance(over, str) else over or ())
      if axis not in taken
    )
    return PartitionSpec(*[left(over) or None for over in sharding.spec(axes)])

  return jax.shard_map(
    run,
    mesh=jax.sharding.get_abstract_mesh() if taken else mesh,
    in_specs=tuple(map(spec, inputs)),
    out_specs=jax.tree.map(spec, outputs, is_leaf=sharding.is_axes),
    axis_names=set(mesh.axis_names) - taken,
    check_vma=False,
  )


def _taken() -> set[str]:
  """Axes of which each device sees only its own part already."""
  return set(jax.sharding.get_abstract_mesh().manual_axes)
