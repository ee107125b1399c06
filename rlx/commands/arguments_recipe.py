"""Recipes by name, on the command line."""

import dataclasses
from collections.abc import Callable
from typing import Any

from rlx import recipes, spec


def method(name: str) -> Callable[..., recipes.Recipe]:
  """The function of a recipe; dashes may stand for underscores.

  Raises:
    ValueError: there is none; the nearest names are listed.
  """
  known = {f.__name__: f for f in recipes.ALL}
  found = known.get(name.replace("-", "_"))
  if found is None:
    raise ValueError(
      f"no recipe {name!r}; {spec.nearest_text(name, known)} "
      f"(`rlx recipes` lists all {len(known)})"
    )
  return found


def instead(old: Any, name: str) -> Any:
  """The spec of another recipe, with what was changed in groups they share.

  `terms`, `clip` and `value` of an experiment are about the policy and not the
  method. What the experiment has changed in them, the other recipe gets too;
  all else stands at its published defaults.
  """
  new = spec.spec(method(name))
  if type(new) is type(old):
    return old
  before = spec.spec(type(old).function)
  for group in ("clip", "terms", "value"):
    if not (hasattr(old, group) and hasattr(new, group)):
      continue
    was, now = getattr(before, group), getattr(old, group)
    changed = {
      f.name: getattr(now, f.name)
      for f in dataclasses.fields(now)
      if getattr(now, f.name) != getattr(was, f.name)
    }
    values = dataclasses.replace(getattr(new, group), **changed)
    new = dataclasses.replace(new, **{group: values})
  return new
