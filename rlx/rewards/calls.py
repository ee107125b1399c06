"""Calling reward functions: by the keywords they accept, async ones included."""

import asyncio
import concurrent.futures
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rlx import spec

# Arguments that are not columns of the data set.
GIVEN = ("prompts", "completions", "completion_ids", "log_metric", "log_extra")


class Raised(NamedTuple):
  """Stands for the return value of a function that raised."""

  error: Exception


def made(
  sources: Sequence[Callable[..., Any] | spec.Spec],
) -> tuple[Callable[..., Any], ...]:
  """The reward functions, those included that specs make, each once.

  Raises:
    ValueError: what a spec makes is no function.
  """
  return tuple(_made(x) if isinstance(x, spec.Spec) else x for x in sources)


@functools.lru_cache(maxsize=64)  # A judge counts what it spends.
def _made(source: spec.Spec) -> Callable[..., Any]:
  function = source.build()
  if not callable(function):
    name = type(source).__name__
    raise ValueError(
      f"task.rewards: spec({name}) is of a function that returns a reward "
      f"function, and {name}() returned {function!r}; give a reward function "
      "itself without spec"
    )
  return function


def name_of(function: Callable[..., Any]) -> str:
  """A function's name; that of the class for other callables."""
  while isinstance(function, functools.partial):
    function = function.func
  return getattr(function, "__name__", type(function).__name__)


def required(function: Callable[..., Any]) -> set[str]:
  """The names of a function's arguments without a default."""
  return {
    name
    for name, p in inspect.signature(function).parameters.items()
    if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
  }


def accepted(
  function: Callable[..., Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
  """Those of the arguments that a function names, or all if it takes **."""
  parameters = inspect.signature(function).parameters
  if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    return dict(arguments)
  return {k: v for k, v in arguments.items() if k in parameters}


def call_all(
  functions: Sequence[Callable[..., Any]],
  arguments: Sequence[Mapping[str, Any]],
) -> list[Any]:
  """What each function returns, or `Raised`; all async ones run at once."""
  results = [
    _call(f, given) for f, given in zip(functions, arguments, strict=True)
  ]
  waiting = [
    i for i, result in enumerate(results) if inspect.isawaitable(result)
  ]
  if waiting:
    # In a thread of its own, as this one may be running an event loop.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
      awaited = [results[i] for i in waiting]
      done = thread.submit(lambda: asyncio.run(_gather(awaited))).result()
    for i, result in zip(waiting, done, strict=True):
      results[i] = result
  return results


def _call(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
  try:
    return function(**given)
  except Exception as error:  # Of any kind: it is reported with its sample.
    return Raised(error)


async def _gather(awaited: Sequence[Any]) -> list[Any]:
  results = await asyncio.gather(*awaited, return_exceptions=True)
  for result in results:
    if isinstance(result, BaseException) and not isinstance(result, Exception):
      raise result
  return [Raised(r) if isinstance(r, Exception) else r for r in results]


def first_to_raise(
  function: Callable[..., Any], given: Mapping[str, Any], size: int
) -> int | None:
  """The first sample on which a function raises when given it alone.

  Args:
    function: which raised on the batch.
    given: the arguments of the batch; what is a list is per sample.
    size: of the batch.
  """
  for i in range(size):
    one = {
      name: value[i : i + 1] if isinstance(value, list) else value
      for name, value in given.items()
    }
    if isinstance(call_all([function], [one])[0], Raised):
      return i
  return None
