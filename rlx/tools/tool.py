"""What a tool is: a name, a schema of its arguments, and a call that gives text."""

import inspect
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rlx import spec
from rlx.tools import schema as schemas

_LOG = logging.getLogger(__name__)


class ToolError(Exception):
  """A tool's refusal, in words for the policy that called it."""


class Result(NamedTuple):
  """What a call came to. A tool's function may return one, or any value.

  Attributes:
    text: what the policy is shown.
    error: whether the call failed.
    ends: whether the episode is over.
    data: what rewards and evidence may want to know beside.
  """

  text: str
  error: bool = False
  ends: bool = False
  data: Any = None


class Tool(NamedTuple):
  """A tool.

  Attributes:
    name: of it.
    schema: its description in OpenAI's form, see `schema.of`.
    function: called with the arguments by name.
  """

  name: str
  schema: dict[str, Any]
  function: Callable[..., Any]


def make(source: Any) -> Tool:
  """A tool from a function with types and a docstring, or from a spec of one.

  Raises:
    ValueError: it cannot be described to a policy, see `schema.of`.
  """
  if isinstance(source, spec.Spec):
    source = source.build()
  if isinstance(source, Tool):
    return source
  name = getattr(source, "__name__", type(source).__name__)
  return Tool(name, schemas.of(source, name), source)


def of_environment(environment: Any) -> list[Tool]:
  """The tools of an environment in TRL's style: its public methods.

  `reset` and `get_reward` are none.
  """
  found = inspect.getmembers(environment, inspect.ismethod)
  return [
    make(method)
    for name, method in found
    if not name.startswith("_") and name not in ("reset", "get_reward")
  ]


def named(tools: list[Tool]) -> dict[str, Tool]:
  """The tools by name. Raises ValueError where two have one name."""
  names = [tool.name for tool in tools]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f"two tools are named {twice[0]!r}")
  return dict(zip(names, tools, strict=True))


def call(tools: Mapping[str, Tool], name: str, arguments: Any) -> Result:
  """Calls a tool; whatever goes wrong is told to the policy, and not raised.

  What a tool raises that is no `ToolError` is a warning in the log too.
  """
  if name not in tools:
    known = ", ".join(tools) or "none"
    return _failed(f"there is no tool {name[:40]!r}; the tools are {known}")
  tool = tools[name]
  try:
    given = schemas.check(tool.schema["function"]["parameters"], arguments)
  except ValueError as error:
    return _failed(f"{name}: {error}")
  try:
    value = tool.function(**given)
  except ToolError as error:
    return _failed(str(error))
  except Exception as error:  # TRL's way; a policy can make a tool raise.
    _LOG.warning("tool %s raised", name, exc_info=True)
    return _failed(f"{type(error).__name__}: {error}")
  return value if isinstance(value, Result) else Result(text_of(value))


def _failed(text: str) -> Result:
  return Result(f"error: {text}", error=True)


def text_of(value: Any) -> str:
  """A tool's value as text: as it is, or as JSON where it can be."""
  if isinstance(value, str):
    return value
  try:
    return json.dumps(value, ensure_ascii=False)
  except (TypeError, ValueError):
    return str(value)
