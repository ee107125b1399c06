"""A function and its keyword arguments as one frozen, typed dataclass.

A method of rlx is a function with keyword-only, annotated, defaulted
hyper-parameters. `spec(gigpo, discount=0.9)` is data that can be compared,
written to a file and changed from the command line; `.build()` calls it.
"""

import collections.abc
import dataclasses
import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

# As JSON, which has no word for them, spells them here.
NON_FINITE = ("inf", "-inf", "nan")
_RESERVED = ("build", "function")


class Spec:
  """Base of the dataclasses made by `spec`; fields are the arguments."""

  function: ClassVar[Callable[..., Any]]

  def build(self) -> Any:
    """Calls the function with these arguments."""
    return type(self).function(**values(self))

  def __reduce__(self) -> Any:  # The class has no importable name.
    return _restore, (type(self).function, values(self))


def spec(function: Callable[..., Any], **overrides: Any) -> Any:
  """An instance of the dataclass of `function`'s keyword-only arguments.

  The dataclass is made once per function, so equal arguments compare equal. It
  takes over the function's docstring, so `Args:` is the help of its fields.

  Args:
    function: its arguments are keyword-only and annotated with bool, int,
      float, str, None, Literal, tuples or unions of them, or dataclasses.
    **overrides: values other than the defaults. An int is taken for a float.

  Raises:
    ValueError: an argument that is unknown, missing or of another type.
  """
  cls = _class_of(function)
  hints = typing.get_type_hints(cls)
  known = {f.name: f for f in dataclasses.fields(cls)}
  name = function.__name__
  for key in overrides:
    if key not in known:
      raise ValueError(
        f"{name} has no argument {key!r}; {nearest_text(key, known)}"
      )
  for key, field in known.items():
    if field.default is dataclasses.MISSING and key not in overrides:
      raise ValueError(f"{name} needs the argument {key!r}")
  return cls(
    **{k: convert(v, hints[k], f"{name}.{k}") for k, v in overrides.items()}
  )


def _restore(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
  return spec(function, **arguments)


@functools.cache
def _class_of(function: Callable[..., Any]) -> type:
  """The dataclass of a function's keyword-only arguments."""
  name = function.__name__
  hints = typing.get_type_hints(function, include_extras=True)
  fields = []
  for p in inspect.signature(function).parameters.values():
    if p.kind is not p.KEYWORD_ONLY:
      raise ValueError(
        f"{name}: argument {p.name!r} must be keyword-only (put * before it)"
      )
    if p.name not in hints or p.name in _RESERVED:
      problem = "is a reserved name" if p.name in hints else "needs a type"
      raise ValueError(f"{name}: argument {p.name!r} {problem}")
    if p.default is p.empty:
      fields.append((p.name, hints[p.name]))
    else:
      default = convert(p.default, hints[p.name], f"{name}.{p.name}")
      fields.append((p.name, hints[p.name], default))
  cls = dataclasses.make_dataclass(
    name,
    fields,
    bases=(Spec,),
    frozen=True,
    kw_only=True,
    namespace={"function": staticmethod(function)},
  )
  cls.__doc__ = inspect.getdoc(function) or f"Arguments of {name}."
  cls.__module__ = function.__module__
  return cls


def values(instance: Any) -> dict[str, Any]:
  """The fields of a dataclass instance, not copied, by name."""
  return {
    f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)
  }


def convert(value: Any, hint: Any, path: str) -> Any:
  """`value` as an instance of `hint`: lists become tuples, ints floats.

  Raises:
    ValueError: naming `path`, the value and what would be valid.
  """
  result = _convert(value, hint)
  if result is _NOT:
    valid = describe(hint)
    raise ValueError(f"{path}: {value!r} is not valid; expected {valid}")
  return result


_NOT = object()  # Not an instance of the hint.


def _convert(value: Any, hint: Any) -> Any:
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if hint in (object, Any):
    return value
  if origin is typing.Annotated:
    return _convert(value, args[0])
  if origin in (typing.Union, types.UnionType):
    # An exact type first: 1 stays an int in `float | int`.
    found = [x for x in (_convert(value, a) for a in args) if x is not _NOT]
    exact = [x for x in found if type(x) is type(value)]
    return next(iter(exact + found), _NOT)
  if origin is typing.Literal:
    same = [a for a in args if a == value and type(a) is type(value)]
    return same[0] if same else _NOT
  if origin is tuple or hint is tuple:
    return (
      _convert_tuple(value, args) if isinstance(value, list | tuple) else _NOT
    )
  if origin is collections.abc.Callable or hint is collections.abc.Callable:
    return value if callable(value) else _NOT
  if hint is None or hint is type(None):
    return None if value is None else _NOT
  if hint is float and (type(value) is int or value in NON_FINITE):
    return float(value)
  if hint is int and isinstance(value, bool):
    return _NOT
  if isinstance(hint, type):
    return value if isinstance(value, hint) else _NOT
  raise ValueError(f"a config field cannot have the type {hint}")


def _convert_tuple(value: Iterable[Any], hints: tuple[Any, ...]) -> Any:
  items = list(value)
  if not hints:
    return tuple(items)
  if len(hints) == 2 and hints[1] is Ellipsis:
    hints = (hints[0],) * len(items)
  if len(items) != len(hints):
    return _NOT
  out = tuple(_convert(x, h) for x, h in zip(items, hints, strict=True))
  return _NOT if any(x is _NOT for x in out) else out


def describe(hint: Any) -> str:
  """A type as a user reads it: `float`, `'turn' or 'token'`, `int or None`."""
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is typing.Annotated:
    return describe(args[0])
  if origin is typing.Literal:
    return " or ".join(map(repr, args))
  if origin in (typing.Union, types.UnionType):
    return " or ".join(map(describe, args))
  if hint is None or hint is type(None):
    return "None"
  return hint.__name__ if isinstance(hint, type) and not args else str(hint)


def nearest(name: str, names: Iterable[str]) -> list[str]:
  """The names most like `name`, at least one if there are any, at most 3.

  A dotted name is compared whole and by its last part.
  """

  def likeness(other: str) -> float:
    last = other.rpartition(".")[2], name.rpartition(".")[2]
    whole = difflib.SequenceMatcher(None, other, name).ratio()
    return max(whole, difflib.SequenceMatcher(None, *last).ratio() - 0.01)

  ranked = sorted(names, key=likeness, reverse=True)
  return ranked[:1] + [x for x in ranked[1:3] if likeness(x) > 0.7]


def nearest_text(name: str, names: Iterable[str]) -> str:
  """ "nearest: a, b", or that there is nothing."""
  found = nearest(name, names)
  return f"nearest: {', '.join(found)}" if found else "it has none"
