"""Plan: what a recipe asks of the rollout, in terms of the verbs."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from rlx.rollout import engine, played, verbs

Memory = Any  # A pytree of NumPy arrays of fixed shapes; () for none.


class Size(NamedTuple):
  """The static shape of the batch that is learnt from."""

  rows: int
  length: int
  turns: int  # Rows of the step table that a sequence has.


class Plan(NamedTuple):
  """How a batch is collected.

  Attributes:
    collect: `(verbs, prompt_ids, indices, memory) -> (Played, memory)`. What is
      played has `size(shape)`, padded with rows that were dropped.
    size: `(engine.Shape) -> Size`.
    columns: evidence that it fills.
    memory: `(engine.Shape) -> Memory`, what it remembers before the first
      batch. It is kept in the train state, so that a resumed run has it.
    needs: verbs that it uses.
    asks: runtime-checkable protocols that an episode of the task must keep.
    tasks: the kind of task that it can collect from.
    texts: what it puts into completions, of words that the tokeniser knows.
    beside: `(engine.Shape) -> int`, most rows that it plays beside the samples;
      None where nobody has counted.
  """

  collect: Callable[..., tuple[played.Played, Memory]]
  size: Callable[[engine.Shape], Size]
  columns: tuple[str, ...] = ()
  memory: Callable[[engine.Shape], Memory] = lambda shape: ()
  needs: tuple[verbs.Name, ...] = ("sample",)
  asks: tuple[type, ...] = ()
  tasks: Literal["any", "episodes", "prompts"] = "any"
  texts: tuple[str, ...] = ()
  beside: Callable[[engine.Shape], int] | None = None


def sample() -> Plan:
  """Every prompt is sampled `group_size` times, and that is the batch."""

  def collect(do: verbs.Verbs, prompt_ids, indices, memory):
    return do.sample(prompt_ids, indices), memory

  return Plan(collect, whole)


def whole(shape: engine.Shape) -> Size:
  """The size of what `sample` returns."""
  return Size(shape.rows, shape.length, shape.turns)
