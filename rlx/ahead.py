"""Compiling in threads, while something else is computed or compiled.

XLA compiles a program on about one core and without holding Python, so that
programs that are needed one after the other can be compiled side by side.
"""

import concurrent.futures
import os
from typing import Any

import jax


class Ahead:
  """Compilations under way. What they find is where `jax.jit` looks it up."""

  def __init__(self):
    self._futures: list[concurrent.futures.Future] = []

  def start(self, program: Any, *args: Any, **kwargs: Any) -> None:
    """Compiles a jitted function for these arguments, and returns at once.

    Arguments may be arrays or `shape_of` them. What cannot be compiled raises
    where it is called, and not here.
    """
    self._futures.append(
      _pool().submit(lambda: program.lower(*args, **kwargs).compile())
    )

  def wait(self) -> None:
    """Returns when nothing is under way; else a call might compile twice."""
    concurrent.futures.wait(self._futures)
    self._futures.clear()


def shape_of(tree: Any) -> Any:
  """Returns the shapes, dtypes and placements of a tree of arrays."""
  return jax.tree.map(_shape_of, tree)


def _shape_of(x: Any) -> jax.ShapeDtypeStruct:
  # Where an array may still go elsewhere, its place is not its own.
  place = x.sharding if getattr(x, "committed", True) else None
  return jax.ShapeDtypeStruct(
    x.shape, x.dtype, sharding=place, weak_type=x.weak_type
  )


_POOL: list[concurrent.futures.ThreadPoolExecutor] = []


def _pool() -> concurrent.futures.ThreadPoolExecutor:
  if not _POOL:
    cores = os.cpu_count() or 1
    _POOL.append(
      concurrent.futures.ThreadPoolExecutor(
        max(1, min(cores, 8)), "rlx-compile"
      )
    )
  return _POOL[0]
