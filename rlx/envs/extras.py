"""Packages that are extras: found when an environment of theirs is asked for."""

import importlib
import importlib.util
from types import ModuleType


def load(package: str, extra: str) -> ModuleType:
  """Returns the package, or a module of it.

  Raises:
    ValueError: it is not installed; says how to.
  """
  try:
    return importlib.import_module(package)
  except ModuleNotFoundError as error:
    # A package that lacks one of its own says so itself.
    if error.name != package.partition(".")[0]:
      raise
    name = package.partition(".")[0]
    raise ValueError(missing(name, extra)) from None


def installed(package: str) -> bool:
  """Whether a package is there; it is not imported."""
  return importlib.util.find_spec(package) is not None


def missing(package: str, extra: str) -> str:
  """Returns what is said where a package is not there."""
  return f"{package} is not installed: pip install 'rlx[{extra}]'"
