"""When the policy takes its next turn, while some environments still work."""

# Of the live rows, the share that is worth a turn of its own.
SHARE = 0.5
# For fewer than that, a turn waits as long as it takes itself: it is then at
# most twice as late as it could have been. For the share, a part of it.
PATIENCE = 0.1


def due(ready: int, pending: int, waited: float, turn_seconds: float) -> bool:
  """Returns whether those who are ready take their turn now.

  A turn takes as long for a few rows as for all. So it is taken at once when
  all are ready; by half of them after a tenth of the time that it takes; by any
  number after all of that time. Nobody waits for the slowest.

  Args:
    ready: rows whose environment has answered, and that go on.
    pending: rows whose environment has not.
    waited: seconds since the last turn ended.
    turn_seconds: that a turn takes.
  """
  if not ready:
    return False
  if not pending:
    return True
  enough = ready >= SHARE * (ready + pending)
  return waited >= turn_seconds * (PATIENCE if enough else 1.0)
