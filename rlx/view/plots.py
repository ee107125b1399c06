"""matplotlib, which is an extra: found when a figure is asked for."""

import importlib
from types import ModuleType


def matplotlib(part: str = "") -> ModuleType:
  """Returns matplotlib, or the module `part` of it.

  Raises:
    ValueError: it is not installed; says how to.
  """
  try:
    return importlib.import_module(
      ".".join(["matplotlib", *[part] * bool(part)])
    )
  except ModuleNotFoundError:
    raise ValueError(
      "figures need matplotlib, which is not installed: pip install matplotlib"
    ) from None
