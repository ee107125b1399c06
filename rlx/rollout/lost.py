"""Episodes that are lost to their environments, told without flooding anybody.

Of each kind of failure the first is told in full, from the first frame that is
not rlx's; then a line a batch counts them.
"""

import collections
import logging
import pathlib
import traceback

_LOG = logging.getLogger(__name__)
_RLX = str(pathlib.Path(__file__).parents[1])
_ROLLOUT = str(pathlib.Path(__file__).parent)
_NAMED = 3  # Kinds that a line names.
_told: set[str] = set()  # Where failures were that have been told in full.


class AllLost(RuntimeError):
  """No episode of a batch is left to learn from."""


class Elsewhere(RuntimeError):
  """What an environment raised in another process, as text.

  Attributes:
    what: the error in a line.
    where: what tells its kind apart.
    full: the traceback.
  """

  def __init__(self, what: str, where: str, full: str):
    super().__init__(f"in the process of the environment:\n{full}")
    self.what, self.where, self.full = what, where, full


class Lost:
  """The episodes of one batch that were lost."""

  def __init__(self):
    self._kinds: collections.Counter[str] = collections.Counter()

  def add(self, error: BaseException, late: bool) -> None:
    """Counts an episode; tells what was raised where nobody has told it yet.

    Args:
      late: whether the environment did not answer; the error says how long.
    """
    if late:
      self._kinds[str(error)] += 1
      return
    found = describe(error)
    self._kinds[f"raised {found.what}"] += 1
    if found.where not in _told:
      _told.add(found.where)
      _LOG.warning("an environment raised:\n%s", found.full.rstrip())

  def text(self) -> str:
    """Returns "32 raised RuntimeError('boom'), 2 did not answer within 2 s"."""
    kinds = self._kinds.most_common()
    named = [f"{count} {what}" for what, count in kinds[:_NAMED]]
    rest = sum(count for _, count in kinds[_NAMED:])
    return ", ".join(named + ([f"{rest} failed otherwise"] if rest else []))

  def tell(self, of: int) -> None:
    """Tells how many of so many episodes were lost, if any."""
    if self._kinds:
      lost = self._kinds.total()
      _LOG.warning("%d of %d episodes lost: %s", lost, of, self.text())


def describe(error: BaseException) -> Elsewhere:
  """Returns an error as text, without the frames that lead to the user's."""
  if isinstance(error, Elsewhere):
    return error
  told = traceback.TracebackException.from_exception(error)
  _shorten(told)
  last = told.stack[-1] if told.stack else None
  kind = type(error).__name__
  where = f"{kind} {last.filename}:{last.lineno}" if last else repr(error)
  what = " ".join(repr(error).split())
  what = what if len(what) <= 200 else f"{what[:199]}…"
  return Elsewhere(what, where, "".join(told.format()))


def _shorten(told: traceback.TracebackException | None) -> None:
  """Leaves out frames of rlx before the first other, in causes as well."""
  if told is None:
    return
  frames, own = list(told.stack), lambda x: x.filename.startswith(_RLX)
  first = next((i for i, x in enumerate(frames) if not own(x)), None)
  kept = frames[first:] if first is not None else frames
  told.stack = traceback.StackSummary.from_list(
    [x for x in kept if not x.filename.startswith(_ROLLOUT)]
  )
  _shorten(told.__cause__)
  _shorten(told.__context__)
