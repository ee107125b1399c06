"""Experiments: found by name, changed from the command line, kept as JSON.

An experiment is a file `configs/<name>.py` with `get_config()`, which returns
nested frozen dataclasses of tuples, strings, numbers, booleans, None, functions
and specs. Files from outside are data: `from_json` runs no code but rlx's own.
"""

import collections.abc
import dataclasses
import importlib
import importlib.util
import math
import pathlib
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rlx import command_line
from rlx import spec as specs

_C = TypeVar("_C")
_DIRECTORY = pathlib.Path(__file__).parent / "configs"
# Files of the user's that were run, by the module's name: where, and what.
_RAN: dict[str, tuple[pathlib.Path, bytes, types.ModuleType]] = {}

spec = specs.spec
Spec = specs.Spec


def names() -> list[str]:
  """The experiments that come with rlx, as the command line spells them."""
  files = _DIRECTORY.glob("[!_]*.py")
  return sorted(f.stem.replace("_", "-") for f in files)


def load_module(name_or_path: str) -> types.ModuleType:
  """The module of an experiment: a name in `names()` or a path to a .py file.

  Raises:
    ValueError: there is none; the nearest name and all names are listed.
  """
  path = pathlib.Path(name_or_path)
  if path.suffix == ".py":
    if not path.is_file():
      raise ValueError(f"config {name_or_path}: there is no such file")
    return _load_file(path)
  name = name_or_path.replace("_", "-")
  known = names()
  if name not in known:
    raise ValueError(
      f"no config {name_or_path!r}; {specs.nearest_text(name, known)}; "
      f"there are {', '.join(known) or 'none'}, or give a path to a .py file"
    )
  return importlib.import_module(f"rlx.configs.{name.replace('-', '_')}")


def _load_file(path: pathlib.Path) -> types.ModuleType:
  """Runs a file that the user named, able to import what lies beside it.

  It is run again only if it has changed, or another took its name: what is
  sent to other processes must be of the module that is found by the name.
  """
  name, path = f"rlx_config_{path.stem}", path.resolve()
  text = path.read_bytes()
  before = _RAN.get(name)
  if before and before[:2] == (path, text):
    sys.modules[name] = before[2]
    return before[2]
  found = importlib.util.spec_from_file_location(name, path)
  if found is None or found.loader is None:
    raise ValueError(f"config {path}: not a Python file")
  module = importlib.util.module_from_spec(found)
  sys.modules[name] = module  # Dataclasses look their module up here.
  sys.path.insert(0, str(path.parent))
  try:
    found.loader.exec_module(module)
  finally:
    sys.path.remove(str(path.parent))
  _RAN[name] = path, text, module
  return module


def ran() -> dict[str, str]:
  """The modules of the user's files that were run, and where those are."""
  return {name: str(path) for name, (path, _, _) in _RAN.items()}


def load(name_or_path: str) -> Any:
  """The configuration that an experiment's `get_config()` returns.

  Raises:
    ValueError: no such experiment, or it does not return a dataclass.
  """
  module = load_module(name_or_path)
  if not hasattr(module, "get_config"):
    raise ValueError(f"config {name_or_path}: has no function get_config()")
  config = module.get_config()
  if not dataclasses.is_dataclass(config) or isinstance(config, type):
    kind = type(config).__name__
    raise ValueError(
      f"config {name_or_path}: get_config() returned {kind}, not a dataclass"
    )
  return config


def override(
  config: _C,
  args: Sequence[str],
  aliases: Mapping[str, str] | None = None,
  *,
  prog: str = "rlx train",
  description: str | None = None,
) -> _C:
  """`config` with the fields that command-line arguments name changed.

  See `command_line.override`, which exits with code 2 on a bad argument.
  """
  return command_line.override(
    config, args, aliases or {}, prog=prog, description=description
  )


def to_json(config: Any) -> dict[str, Any]:
  """The configuration as a JSON tree, fully resolved.

  A dataclass is an object whose "type" is "module:qualname"; of a spec this is
  its function. A function is "module:qualname"; tuples are lists; floats that
  are not finite are "inf", "-inf" and "nan".

  Raises:
    ValueError: naming a field whose value cannot be written and read back.
  """
  return _encode(config, object, "config")


def _encode(value: Any, hint: Any, path: str) -> Any:
  if value is None or isinstance(value, bool | int | str):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else str(value)
  if isinstance(value, tuple | list):
    return [_encode(x, hint, f"{path}.{i}") for i, x in enumerate(value)]
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return _encode_dataclass(value, path)
  if callable(value) and _takes_functions(hint):
    return _name_of(value, path, specs_too=_takes_specs(hint))
  raise ValueError(
    f"{path}: {value!r} cannot be kept in config.json; use numbers, strings, "
    "tuples, dataclasses, spec(function, ...), or annotate it as a Callable"
  )


def _encode_dataclass(value: Any, path: str) -> dict[str, Any]:
  is_spec = isinstance(value, Spec)
  hints = typing.get_type_hints(type(value))
  name = _name_of(type(value).function if is_spec else type(value), path)
  fields = specs.values(value)
  if "type" in fields:
    raise ValueError(f"{path}: a field of {name} cannot be named 'type'")
  return {"type": name} | {
    k: _encode(v, hints[k], f"{path}.{k}") for k, v in fields.items()
  }


def _takes_functions(hint: Any) -> bool:
  """Whether a Callable stands anywhere in a type."""
  if (typing.get_origin(hint) or hint) is collections.abc.Callable:
    return True
  return any(map(_takes_functions, typing.get_args(hint)))


def _takes_specs(hint: Any) -> bool:
  return hint is Spec or any(map(_takes_specs, typing.get_args(hint)))


def _name_of(value: Any, path: str, specs_too: bool = False) -> str:
  qualname = getattr(value, "__qualname__", "<none>")
  if "<" in qualname:
    makes = ", or give spec(make), of a function `make` there that returns it"
    raise ValueError(
      f"{path}: {value!r} has no name to be found by again; "
      f"define it with def at the top of a module{makes if specs_too else ''}"
    )
  return f"{value.__module__}:{qualname}"


def from_json(
  tree: Mapping[str, Any], extra_modules: Iterable[types.ModuleType] = ()
) -> Any:
  """The configuration that `to_json` wrote.

  Fields that the file lacks take their default. Names are looked up in rlx and
  in `extra_modules` and what these import from beside them, nowhere else.

  Raises:
    ValueError: a name from elsewhere, an unknown field, or a wrong type.
  """
  return _decode(tree, object, "config", tuple(extra_modules))


def _decode(value: Any, hint: Any, path: str, extra: tuple) -> Any:
  if isinstance(value, Mapping):
    value = _decode_dataclass(value, path, extra)
  elif isinstance(value, list):
    items = enumerate(value)
    value = tuple(_decode(x, hint, f"{path}.{i}", extra) for i, x in items)
  elif isinstance(value, str) and _takes_functions(hint):
    value = _find(value, path, extra)
  return value


def _decode_dataclass(value: Mapping[str, Any], path: str, extra: tuple) -> Any:
  found = _find(value.get("type"), path, extra)
  is_function = isinstance(found, types.FunctionType)
  is_class = isinstance(found, type) and dataclasses.is_dataclass(found)
  if not (is_function or is_class):
    kind = value["type"]
    raise ValueError(f"{path}: {kind} is neither a dataclass nor a function")
  hints = typing.get_type_hints(found)
  given = {
    k: _decode(v, hints.get(k, object), f"{path}.{k}", extra)
    for k, v in value.items()
    if k != "type"
  }
  if is_function:
    return spec(found, **given)
  return _construct(found, given, hints, path)


def _construct(
  cls: type, given: dict[str, Any], hints: Mapping[str, Any], path: str
) -> Any:
  fields = {f.name: f for f in dataclasses.fields(cls)}
  for key in given:
    if key not in fields:
      near = specs.nearest_text(key, fields)
      raise ValueError(f"{path}: {cls.__name__} has no field {key!r}; {near}")
  none = dataclasses.MISSING
  for key, f in fields.items():
    if key not in given and f.default is none and f.default_factory is none:
      raise ValueError(f"{path}: {cls.__name__} needs the field {key!r}")
  return cls(
    **{k: specs.convert(v, hints[k], f"{path}.{k}") for k, v in given.items()}
  )


def _find(name: Any, path: str, extra: tuple[types.ModuleType, ...]) -> Any:
  """The function or class that a file names, if it may be named there."""
  if not isinstance(name, str) or name.count(":") != 1:
    raise ValueError(f"{path}: type {name!r} is not of the form module:name")
  module_name, qualname = name.split(":")
  if module_name == "rlx" or module_name.startswith("rlx."):
    try:
      holders = [importlib.import_module(module_name)]
    except ModuleNotFoundError as e:
      if not module_name.startswith(e.name or module_name):
        raise  # A package that this module of rlx needs.
      raise ValueError(f"{path}: this version of rlx has no {name}") from e
  else:
    holders = [m for m in _trusted(extra) if m.__name__ == module_name]
  for holder in holders:
    found = _attribute(holder, qualname)
    # Not what a module merely imports, such as `os`.
    if getattr(found, "__module__", None) == module_name:
      return found
  raise ValueError(
    f"{path}: {name} is not part of rlx; name the config file it comes from"
  )


def _trusted(modules: tuple[types.ModuleType, ...]) -> list[types.ModuleType]:
  """The modules, and those that they import from beside their file."""
  out = list(modules)
  for module in modules:
    home = pathlib.Path(module.__file__ or "").resolve().parent
    for value in vars(module).values():
      name = getattr(value, "__module__", None) or getattr(
        value, "__name__", ""
      )
      root = home / str(name).partition(".")[0]
      near = sys.modules.get(str(name))
      file = pathlib.Path(getattr(near, "__file__", None) or "/")
      if near and (file == root.with_suffix(".py") or root in file.parents):
        out.append(near)
  return out


def _attribute(holder: Any, qualname: str) -> Any:
  for part in qualname.split("."):
    holder = getattr(holder, part, None)
  return holder


class _Absent:
  def __repr__(self) -> str:
    return "(absent)"


ABSENT = _Absent()


def diff(a: Any, b: Any, path: str = "") -> list[tuple[str, Any, Any]]:
  """(path, old, new) of each place where two JSON trees differ, in order.

  What one side lacks is `ABSENT` there. Where types or lengths differ the
  whole differs, and is told in one entry: of objects, their "type".
  """
  dot = f"{path}." if path else ""
  if isinstance(a, Mapping) and isinstance(b, Mapping):
    if a.get("type") != b.get("type"):
      return [(f"{dot}type", a.get("type", ABSENT), b.get("type", ABSENT))]
    out = []
    for key in dict.fromkeys([*a, *b]):
      out += diff(a.get(key, ABSENT), b.get(key, ABSENT), f"{dot}{key}")
    return out
  if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
    pairs = enumerate(zip(a, b, strict=True))
    return [d for i, (x, y) in pairs for d in diff(x, y, f"{dot}{i}")]
  return [] if a == b and type(a) is type(b) else [(path, a, b)]
