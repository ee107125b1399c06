"""What a Python function takes, as the JSON schema that policies are shown."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

Schema = dict[str, Any]

_NAMES = {
  str: "string",
  int: "integer",
  float: "number",
  bool: "boolean",
  list: "array",
  tuple: "array",
  dict: "object",
  type(None): "null",
}


def of(function: Callable[..., Any], name: str | None = None) -> Schema:
  """A function's description in OpenAI's form, from its signature and docstring.

  Its first paragraphs say what it does, `Args:` says it of each argument. It is
  what transformers' `get_json_schema` gives, but for the return value, and an
  argument that is not documented is allowed.

  Raises:
    ValueError: an argument without a type, or with one that JSON has no word
      for; or there is no docstring.
  """
  name = name or getattr(function, "__name__", "")
  documentation = inspect.getdoc(function)
  if not documentation:
    raise ValueError(f"tool {name}: it has no docstring to tell a policy of it")
  description, said = _documentation(documentation)
  hints = typing.get_type_hints(function)
  properties, required = {}, []
  for parameter in inspect.signature(function).parameters.values():
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
      raise ValueError(f"tool {name}: *{parameter.name} has no schema")
    if parameter.name not in hints:
      raise ValueError(f"tool {name}: argument {parameter.name!r} has no type")
    found = _type(hints[parameter.name], f"{name}.{parameter.name}")
    if parameter.name in said:
      found["description"] = said[parameter.name]
    if parameter.default is parameter.empty:
      required.append(parameter.name)
    properties[parameter.name] = found
  parameters: Schema = {"type": "object", "properties": properties}
  if required:
    parameters["required"] = required
  about = {"name": name, "description": description, "parameters": parameters}
  return {"type": "function", "function": about}


def _documentation(text: str) -> tuple[str, dict[str, str]]:
  """The description, and what is said of each argument."""
  head, _, rest = text.partition("\nArgs:\n")
  description = re.split(r"\n(?:Returns|Raises|Yields):\n", head)[0]
  block = re.split(r"\n(?=\S)", rest)[0]
  indents = [len(x) - len(x.lstrip()) for x in block.splitlines() if x.strip()]
  indent = min(indents, default=0)
  said: dict[str, str] = {}
  last = ""
  for line in block.splitlines():
    begins = re.match(rf" {{{indent}}}(\w+)\s*(?:\([^)]*\))?:\s*(.*)", line)
    if begins:
      last = begins[1]
      said[last] = begins[2]
    elif last and line.strip():
      said[last] += " " + line.strip()
  return description.strip(), said


def _type(hint: Any, where: str) -> Schema:
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any:
    return {}
  if hint in _NAMES:
    return {"type": _NAMES[hint]}
  if origin is typing.Annotated:
    return _type(arguments[0], where)
  if origin is typing.Literal:
    (kind,) = {_NAMES.get(type(x), "") for x in arguments}
    return {"type": kind, "enum": list(arguments)}
  if origin in (list, tuple) and len(set(arguments) - {...}) == 1:
    return {"type": "array", "items": _type(arguments[0], where)}
  if origin is dict:
    values = _type(arguments[1], where)
    return {"type": "object", "additionalProperties": values}
  if origin in (typing.Union, types.UnionType):
    return _union([_type(x, where) for x in arguments])
  raise ValueError(f"tool argument {where}: {hint} is no type that JSON has")


def _union(options: list[Schema]) -> Schema:
  some = [x for x in options if x != {"type": "null"}]
  nullable = {"nullable": True} if len(some) < len(options) else {}
  if len(some) == 1:
    return some[0] | nullable
  if all(set(x) == {"type"} for x in some):
    return {"type": sorted(x["type"] for x in some)} | nullable
  return {"anyOf": some} | nullable


def check(parameters: Schema, arguments: Any) -> dict[str, Any]:
  """The arguments, if they are what a function takes; whole numbers are floats.

  Raises:
    ValueError: what is wrong with which, in words for a policy.
  """
  if not isinstance(arguments, Mapping):
    raise ValueError("the arguments must be a JSON object")
  known = parameters["properties"]
  unknown = [x for x in arguments if x not in known]
  if unknown:
    raise ValueError(
      f"unknown argument {str(unknown[0])[:40]!r}; the arguments are "
      f"{', '.join(known) or 'none'}"
    )
  missing = [x for x in parameters.get("required", ()) if x not in arguments]
  if missing:
    raise ValueError(f"the argument {missing[0]!r} is missing")
  for name, value in arguments.items():
    problem = _problem(value, known[name])
    if problem:
      raise ValueError(f"argument {name!r} {problem}")
  return dict(arguments)


_KINDS: dict[str, type | tuple[type, ...]] = {
  "string": str,
  "integer": int,
  "number": (int, float),
  "boolean": bool,
  "array": list,
  "object": dict,
  "null": type(None),
}


def _problem(value: Any, schema: Schema) -> str:
  """What keeps a value from being of a schema; empty for nothing."""
  if value is None and schema.get("nullable"):
    return ""
  if "anyOf" in schema:
    problems = [_problem(value, option) for option in schema["anyOf"]]
    return "" if "" in problems else problems[0]
  if "type" not in schema:
    return ""
  kinds = schema["type"]
  kinds = [kinds] if isinstance(kinds, str) else kinds
  if not any(_is(value, kind) for kind in kinds):
    return f"must be of type {' or '.join(kinds)}, not {str(value)[:40]!r}"
  if "enum" in schema and value not in schema["enum"]:
    return f"must be one of {schema['enum']}, not {str(value)[:40]!r}"
  inner = schema.get("items") or schema.get("additionalProperties")
  if inner:
    each = value.values() if isinstance(value, dict) else list(value or ())
    return next((p for x in each if (p := _problem(x, inner))), "")
  return ""


def _is(value: Any, kind: str) -> bool:
  if isinstance(value, bool):
    return kind == "boolean"
  return isinstance(value, _KINDS[kind])
