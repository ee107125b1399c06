"""Compiling in threads, while something else is computed or compiled.

XLA compiles without holding Python, and a program on less than two cores: while
one is compiled, another can be traced.
"""

import concurrent.futures
import functools
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


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
  num = max(1, min((os.cpu_count() or 1) // 2, 8))
  return concurrent.futures.ThreadPoolExecutor(num, "rlx-compile")
