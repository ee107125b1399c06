"""How tools are written and read: the form of Hermes, Qwen and many others.

    <tool_call>
    {"name": "calculator", "arguments": {"expression": "1 + 2"}}
    </tool_call>

is answered with

    <tool_response>
    3
    </tool_response>
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from rlx.tools import tool as tools

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_MAX_CALLS = 32  # In one turn.


class Call(NamedTuple):
  """A call: the tool's name, and the arguments as JSON has them."""

  name: str
  arguments: Any


class Said(NamedTuple):
  """What a turn of a policy says.

  Attributes:
    text: around the calls.
    calls: in their order; none in a turn that answers.
    error: why the turn cannot be read, in words for the policy; None if it can.
  """

  text: str
  calls: tuple[Call, ...] = ()
  error: str | None = None


def read(text: str) -> Said:
  """Reads a turn; nothing that it may contain raises.

  A last call need not be closed. Where one call cannot be read, none is made.
  """
  around, calls, at = [], [], 0
  while (start := text.find(OPEN, at)) >= 0:
    around.append(text[at:start])
    try:
      if len(calls) == _MAX_CALLS:
        raise ValueError(f"more than {_MAX_CALLS} calls in one turn")
      call, at = _call(text, start + len(OPEN))
    except ValueError as error:
      return Said("".join(around).strip(), (), str(error))
    calls.append(call)
  around.append(text[at:])
  rest = "".join(around).strip()
  if CLOSE in rest:
    return Said(rest, (), f"{CLOSE} without {OPEN} before it")
  return Said(rest, tuple(calls))


def _call(text: str, start: int) -> tuple[Call, int]:
  """The call behind its opening, and where it ends."""
  start = _skip(text, start, r"\s*(?:```(?:json)?\s*)?")
  try:
    found, end = json.JSONDecoder().raw_decode(text, start)
    _encoded(found)
  except (ValueError, RecursionError) as error:
    reason = getattr(error, "msg", type(error).__name__)
    raise ValueError(
      f"a tool call must be one JSON object with name and arguments: {reason}"
      f" at {text[start : start + 40]!r}"
    ) from None
  end = _skip(text, end, r"\s*(?:```\s*)?")
  if text.startswith(CLOSE, end):
    end += len(CLOSE)
  elif end < len(text):
    raise ValueError(f"a tool call must end with {CLOSE} after its JSON object")
  return _checked(found), end


def _encoded(found: Any) -> bytes:
  """JSON in UTF-8. Raises ValueError for half of a pair, as "\\ud800"."""
  return json.dumps(found, ensure_ascii=False).encode()


def _skip(text: str, start: int, pattern: str) -> int:
  found = re.compile(pattern).match(text, start)
  return found.end() if found else start


def _checked(found: Any) -> Call:
  if not isinstance(found, dict) or not isinstance(found.get("name"), str):
    raise ValueError("a tool call must be a JSON object with a string 'name'")
  arguments = found.get("arguments", found.get("parameters", {}))
  if isinstance(arguments, str):  # As OpenAI's own form has them.
    try:
      arguments = json.loads(arguments)
      _encoded(arguments)
    except (ValueError, RecursionError):
      raise ValueError("the arguments must be a JSON object") from None
  return Call(found["name"], arguments)


def write(calls: Sequence[Call]) -> str:
  """Calls as a policy writes them."""
  return "\n".join(
    f"{OPEN}\n{json.dumps(call._asdict(), ensure_ascii=False)}\n{CLOSE}"
    for call in calls
  )


def respond(results: Sequence[tools.Result]) -> str:
  """What a policy is shown of its calls, in their order."""
  return "\n".join(
    f"<tool_response>\n{result.text}\n</tool_response>" for result in results
  )


def describe(known: Sequence[tools.Tool]) -> str:
  """What a policy is told of the tools, before its question."""
  listed = "\n".join(json.dumps(t.schema, ensure_ascii=False) for t in known)
  example = '{"name": <function-name>, "arguments": <args-json-object>}'
  return (
    "# Tools\n\nYou may call one or more functions to assist with the user"
    " query.\n\nYou are provided with function signatures within"
    f" <tools></tools> XML tags:\n<tools>\n{listed}\n</tools>\n\nFor each"
    " function call, return a json object with function name and arguments"
    f" within {OPEN}{CLOSE} XML tags:\n{OPEN}\n{example}\n{CLOSE}\n\nA turn"
    " without a call is your answer."
  )
