"""How often XLA compiles, so that a test can see that it does not."""

import contextlib
from collections.abc import Iterator

import jax

# JAX calls it around each compilation, and around each that the persistent
# cache answers.
_EVENT = "/jax/core/compile/backend_compile_duration"


class Count:
  """Compilations so far, and the seconds they took."""

  def __init__(self):
    self.num = 0
    self.seconds = 0.0

  def _add(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    if event == _EVENT:
      self.num += 1
      self.seconds += duration_secs


@contextlib.contextmanager
def count() -> Iterator[Count]:
  """Counts the compilations of the whole process while it is open.

  A program that the persistent cache knows is counted too: the shapes were new
  to this process, and that is what a steady loop must not meet.
  """
  counted = Count()
  jax.monitoring.register_event_duration_secs_listener(counted._add)
  try:
    yield counted
  finally:
    jax.monitoring.unregister_event_duration_listener(counted._add)
