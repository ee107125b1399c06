"""The dataclass of every value that flows: frozen, and a tree of arrays."""

from typing import TypeVar, dataclass_transform

import chex

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def dataclass(cls: type[_T]) -> type[_T]:
  """Returns the class as `chex.dataclass(frozen=True)` makes it.

  A name of its own because type checkers cannot follow chex's call form. Change
  a value with `dataclasses.replace`.
  """
  return chex.dataclass(frozen=True)(cls)
