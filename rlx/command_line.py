"""Fields of a configuration as command-line options, typed, by their path."""

import dataclasses
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from rlx import spec as specs

_C = TypeVar("_C")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def override(
  config: _C,
  args: Sequence[str],
  aliases: Mapping[str, str],
  *,
  prog: str,
  description: str | None = None,
  lists: str = "--help",
) -> _C:
  """`config` with the fields that `args` name changed.

  Accepts `--a.b c`, `--a.b=c`, dashes for underscores, and for booleans
  `--a.b`, `--a.no-b`, `--a.b true`. `--help` lists every field.

  Args:
    config: nested frozen dataclasses.
    args: what follows the command.
    aliases: other names, `{"learning-rate": "optimizer.learning-rate"}`; each
      use is announced in one line. A field of the same name goes first.
    prog: the command, as error messages and `--help` show it.
    description: the first lines of `--help`.
    lists: what lists every field, as error messages show it.

  Raises:
    SystemExit: code 2 after a short message on stderr for an unknown field (the
      nearest is shown) or a wrong value; 0 after `--help`.
  """
  import tyro  # Here, as only a command line needs it.

  fields = dict(_fields(config))
  aliases = {_dashed(k): _dashed(v) for k, v in aliases.items()}
  rewritten = _rewrite(list(args), fields, aliases, prog)
  with _registry():
    changed, unknown = tyro.cli(
      type(config),
      default=config,
      args=rewritten,
      prog=prog,
      description=description,
      return_unknown_args=True,
      config=(tyro.conf.AvoidSubcommands,),
    )
  if unknown:
    _refuse(prog, _complaint(unknown, fields, aliases, lists))
  return changed


def _registry() -> Any:
  """tyro's rules, but that a field's docstring is wrapped once, not twice."""
  from tyro import constructors

  registry, inside = constructors.ConstructorRegistry(), False

  @registry.struct_rule
  def rule(info):
    nonlocal inside
    if inside or not dataclasses.is_dataclass(info.type):
      return None
    inside = True
    try:
      found = constructors.ConstructorRegistry.get_struct_spec(info)
    finally:
      inside = False
    if not isinstance(found, constructors.StructConstructorSpec):
      return None
    fields = tuple(
      dataclasses.replace(field, helptext=unwrapped(field.helptext))
      for field in found.fields
    )
    return dataclasses.replace(found, fields=fields)

  return registry


def unwrapped(text: Any) -> Any:
  """Returns help with the lines of a paragraph joined; lists are kept."""
  if callable(text):  # It is only read where it is shown.
    return lambda: unwrapped(text())
  return text and re.sub(r"(?<!\n)\n(?=[^\s*-])", " ", text)


def _dashed(name: str) -> str:
  return name.replace("_", "-")


def _fields(instance: Any, path: str = "") -> Iterator[tuple[str, bool]]:
  """The path of every field, and whether it is a flag."""
  if isinstance(instance, tuple):
    for i, item in enumerate(instance):
      yield from _fields(item, f"{path}{i}.")
  elif dataclasses.is_dataclass(instance):
    hints = typing.get_type_hints(type(instance))
    for f in dataclasses.fields(instance):
      value = getattr(instance, f.name)
      below = list(_fields(value, f"{path}{_dashed(f.name)}."))
      yield from below or [(f"{path}{_dashed(f.name)}", hints[f.name] is bool)]


def _rewrite(
  args: list[str],
  fields: Mapping[str, bool],
  aliases: Mapping[str, str],
  prog: str,
) -> list[str]:
  """The arguments with aliases resolved and `--flag value` as a flag."""
  out = []
  while args:
    arg = args.pop(0)
    option, equals, value = arg.partition("=")
    name = _dashed(option[2:])
    if not option.startswith("--"):
      out.append(arg)
      continue
    if name not in fields and aliases.get(name) in fields:
      print(f"note: --{name} is --{aliases[name]}", file=sys.stderr)
      name = aliases[name]
    if not fields.get(name):
      out.append(f"--{name}{equals}{value}")
    elif equals or (args and not args[0].startswith("-")):
      word = (value if equals else args.pop(0)).lower()
      if word not in _TRUE + _FALSE:
        _refuse(
          prog, f"--{name}: {word!r} is not valid; expected true or false"
        )
      out.append(_negated(name) if word in _FALSE else f"--{name}")
    else:
      out.append(f"--{name}")
  return out


def _refuse(prog: str, message: str) -> NoReturn:
  print(f"{prog}: {message}", file=sys.stderr)
  raise SystemExit(2)


def _negated(name: str) -> str:
  parent, dot, leaf = name.rpartition(".")
  return f"--{parent}{dot}no-{leaf}"


def _complaint(
  unknown: Sequence[str],
  fields: Mapping[str, bool],
  aliases: Mapping[str, str],
  lists: str,
) -> str:
  """One line for the first argument that means nothing here."""
  option = next((x for x in unknown if x.startswith("--")), None)
  if option is None:
    return f"unexpected {unknown[0]!r}; fields are given as --field value"
  name = _dashed(option[2:].partition("=")[0])
  if name in aliases:
    return f"--{name} stands for --{aliases[name]}, which this config has not"
  near = ", ".join(f"--{x}" for x in specs.nearest(name, fields))
  group = name.rpartition(".")[0]
  others = [
    x.rpartition(".")[2] for x in fields if x.rpartition(".")[0] == group
  ]
  has = f"; --{group} has {', '.join(others)}" if group and others else ""
  return f"no field --{name}; nearest: {near}{has} (all: {lists})"
