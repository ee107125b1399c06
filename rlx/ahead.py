"""Compiling in threads, while something else is computed or compiled.

XLA compiles without holding Python, and a program on less than two cores: while
one is compiled, another can be traced.
"""

import concurrent.futures
import functools
import os
from typing import Any

import jax
from jax.sharding import Mesh


class Ahead:
  """Compilations under way. What they find is where `jax.jit` looks it up."""

  def __init__(self):
    self._futures: dict[Any, concurrent.futures.Future] = {}

  def start(
    self, program: Any, *args: Any, name: Any = None, **kwargs: Any
  ) -> None:
    """Compiles a jitted function for these arguments, and returns at once.

    Arguments may be arrays or `shape_of` them. What cannot be compiled raises
    where it is called, and not here.

    Args:
      name: to `wait` for this one alone.
    """
    self._futures[object() if name is None else name] = _pool().submit(
      lambda: program.lower(*args, **kwargs).compile()
    )

  def wait(self, name: Any = None) -> None:
    """Returns when that one, or all, is compiled: a call might do it again."""
    names = list(self._futures) if name is None else [name]
    found = [self._futures.pop(x) for x in names if x in self._futures]
    concurrent.futures.wait(found)


def once(mesh: Mesh) -> dict[str, bool | int | str] | None:
  """Returns compiler options for a program that runs once on this mesh.

  On a CPU it compiles in half the time without vectorising.
  """
  if mesh.devices.flat[0].platform != "cpu":
    return None
  return {"xla_backend_optimization_level": 1}


def shape_of(tree: Any) -> Any:
  """Returns the shapes, dtypes and placements of a tree of arrays."""
  return jax.tree.map(_shape_of, tree)


def _shape_of(x: Any) -> jax.ShapeDtypeStruct:
  # Where an array may still go elsewhere, its place is not its own.
  place = x.sharding if getattr(x, "committed", True) else None
  return jax.ShapeDtypeStruct(
    x.shape, x.dtype, sharding=place, weak_type=x.weak_type
  )


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
  num = max(1, min((os.cpu_count() or 1) // 2, 8))
  return concurrent.futures.ThreadPoolExecutor(num, "rlx-compile")
